//! What the project calls a platform in its archives' names.

use super::Error;

/// An operating system and a processor, as in `syncthing-linux-amd64-v1.30.0.tar.gz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Platform {
    os: &'static str,
    arch: &'static str,
}

impl Platform {
    /// This machine.
    pub(crate) fn this() -> Result<Self, Error> {
        Self::named(std::env::consts::OS, std::env::consts::ARCH)
    }

    /// By Rust's names.
    pub(crate) fn named(os: &'static str, arch: &'static str) -> Result<Self, Error> {
        let known_os = match os {
            "linux" => Some("linux"),
            "macos" => Some("macos"),
            _ => None,
        };
        let known_arch = match arch {
            "x86_64" => Some("amd64"),
            "aarch64" => Some("arm64"),
            "arm" if os == "linux" => Some("arm"),
            "x86" if os == "linux" => Some("386"),
            "riscv64" if os == "linux" => Some("riscv64"),
            "powerpc64" if os == "linux" => Some("ppc64le"),
            "s390x" if os == "linux" => Some("s390x"),
            _ => None,
        };
        match (known_os, known_arch) {
            (Some(os), Some(arch)) => Ok(Self { os, arch }),
            _ => Err(Error::Platform { os, arch }),
        }
    }

    /// The top directory in the archive, which is its name without the ending.
    pub(crate) fn stem(self, version: &str) -> String {
        format!("syncthing-{}-{}-v{version}", self.os, self.arch)
    }

    /// The archive's file name.
    pub(crate) fn archive(self, version: &str) -> String {
        let ending = if self.os == "linux" { "tar.gz" } else { "zip" };
        format!("{}.{ending}", self.stem(version))
    }
}

#[cfg(test)]
mod tests {
    use super::Platform;

    #[test]
    fn names_are_the_projects() {
        let name = |os, arch| Platform::named(os, arch).map(|p| p.archive("1.30.0")).ok();
        assert_eq!(name("linux", "x86_64").unwrap(), "syncthing-linux-amd64-v1.30.0.tar.gz");
        assert_eq!(name("macos", "aarch64").unwrap(), "syncthing-macos-arm64-v1.30.0.zip");
        assert_eq!(name("windows", "x86_64"), None);
        assert_eq!(name("macos", "riscv64"), None);
    }
}

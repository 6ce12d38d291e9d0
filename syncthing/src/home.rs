//! A syncthing home: identity, configuration, database.
//!
//! Only the identity (cert.pem, key.pem) lasts. Configuration and database are made anew before every
//! start: what is to be synced is told to the running process, after the roots were checked.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rand::{RngExt, distr::Alphanumeric};

/// Why a home could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory of the home could not be read or written.
    #[error("prepare syncthing's home `{path}`")]
    Io {
        /// What was being worked on.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// `syncthing generate` failed.
    #[error("generate an identity with `{binary}`: {output}")]
    Generate {
        /// The program that was run.
        binary: PathBuf,
        /// What it said.
        output: String,
    },
}

/// Where a syncthing lives and how it is spoken to.
#[derive(Debug, Clone)]
pub struct Home {
    /// The directory.
    pub dir: PathBuf,
    /// Unix socket of the REST API.
    pub socket: PathBuf,
    /// API key, random for each preparation.
    pub key: String,
}

/// What differs between the two sides.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to accept BEP: `tcp://127.0.0.1:22000`. None: on a random port of the loopback, for nobody.
    pub listen: Option<String>,
}

impl Home {
    /// Readies `dir` for a start: makes the identity when there is none, deletes configuration and
    /// database, writes a configuration without folders and without devices.
    ///
    /// The caller makes sure that no syncthing runs on this home.
    pub fn prepare(dir: &Path, socket: &Path, binary: &Path, options: &Options) -> Result<Self, Error> {
        let home = Self { dir: dir.to_owned(), socket: socket.to_owned(), key: random_key() };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
        if !(dir.join("cert.pem").exists() && dir.join("key.pem").exists()) {
            generate(dir, binary)?;
        }
        for entry in fs::read_dir(dir).map_err(at(dir))? {
            let entry = entry.map_err(at(dir))?;
            let name = entry.file_name();
            if name == "cert.pem" || name == "key.pem" {
                continue;
            }
            let path = entry.path();
            let gone = if entry.file_type().map_err(at(&path))?.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            gone.map_err(at(&path))?;
        }
        match fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(socket)(error)),
            _ => {}
        }
        let config = dir.join("config.xml");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&config)
            .map_err(at(&config))?;
        file.write_all(home.config(options).as_bytes()).map_err(at(&config))?;
        Ok(home)
    }

    fn config(&self, options: &Options) -> String {
        let listen = options.listen.as_deref().unwrap_or("tcp://127.0.0.1:0");
        let (socket, key, listen) = (xml(&self.socket.to_string_lossy()), xml(&self.key), xml(listen));
        // reconnectionIntervalS has a floor of 5 s in syncthing.
        format!(
            r#"<configuration version="37">
    <gui enabled="true" tls="false" debugging="false" sendBasicAuthPrompt="false">
        <address>{socket}</address>
        <unixSocketPermissions>0600</unixSocketPermissions>
        <apikey>{key}</apikey>
    </gui>
    <options>
        <listenAddress>{listen}</listenAddress>
        <globalAnnounceEnabled>false</globalAnnounceEnabled>
        <localAnnounceEnabled>false</localAnnounceEnabled>
        <relaysEnabled>false</relaysEnabled>
        <natEnabled>false</natEnabled>
        <startBrowser>false</startBrowser>
        <crashReportingEnabled>false</crashReportingEnabled>
        <urAccepted>-1</urAccepted>
        <autoUpgradeIntervalH>0</autoUpgradeIntervalH>
        <upgradeToPreReleases>false</upgradeToPreReleases>
        <reconnectionIntervalS>5</reconnectionIntervalS>
        <keepTemporariesH>1</keepTemporariesH>
        <cacheIgnoredFiles>false</cacheIgnoredFiles>
        <progressUpdateIntervalS>-1</progressUpdateIntervalS>
        <overwriteRemoteDeviceNamesOnConnect>false</overwriteRemoteDeviceNamesOnConnect>
        <setLowPriority>false</setLowPriority>
        <maxFolderConcurrency>-1</maxFolderConcurrency>
    </options>
</configuration>
"#
        )
    }
}

/// The flags that keep `generate` from the network, for 1.x and for 2.x, which refuse each other's.
const GENERATE: [&[&str]; 2] = [&["--no-default-folder", "--skip-port-probing"], &["--no-port-probing"]];

fn generate(dir: &Path, binary: &Path) -> Result<(), Error> {
    let mut said = Vec::new();
    for flags in GENERATE {
        let output = Command::new(binary)
            .arg("generate")
            .arg(format!("--home={}", dir.display()))
            .args(flags)
            .stdin(Stdio::null())
            .output()
            .map_err(at(binary))?;
        if output.status.success() {
            return Ok(());
        }
        let text = [output.stdout, output.stderr].concat();
        said.push(String::from_utf8_lossy(&text).trim().replace('\n', "; "));
    }
    Err(Error::Generate { binary: binary.to_owned(), output: said.join("; ") })
}

fn random_key() -> String {
    rand::rng().sample_iter(Alphanumeric).take(32).map(char::from).collect()
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn at(path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path: path.clone(), source }
}

//! The module trees of the workspace's crates, without what is compiled for tests only.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use syn::{Attribute, Item, ItemMod, Meta};

/// A module by its path: the crate's name first.
pub(crate) type ModulePath = Vec<String>;

/// One module.
pub(crate) struct Module {
    /// Relative to the workspace.
    pub(crate) file: PathBuf,
    /// What stands in the module, without its inline modules.
    pub(crate) items: Vec<Item>,
}

/// All modules of the workspace.
#[derive(Default)]
pub(crate) struct Crates {
    pub(crate) modules: BTreeMap<ModulePath, Module>,
}

impl Crates {
    /// Reads every crate below `workspace`.
    pub(crate) fn read(workspace: &Path) -> Self {
        let mut crates = Self::default();
        for (name, entry) in roots(workspace) {
            crates.file(workspace, vec![name], &entry);
        }
        crates
    }

    /// A crate from text, for samples: `files` are module paths below the crate with their source.
    pub(crate) fn of(name: &str, files: &[(&str, &str)]) -> Self {
        let mut crates = Self::default();
        for (path, source) in files {
            let mut module = vec![name.to_owned()];
            module.extend(path.split("::").filter(|part| !part.is_empty()).map(str::to_owned));
            let file =
                PathBuf::from(if path.is_empty() { "lib".to_owned() } else { path.replace("::", "/") });
            let items = syn::parse_file(source).unwrap().items;
            crates.modules.insert(module, Module { file, items: without_tests(items) });
        }
        crates
    }

    fn file(&mut self, workspace: &Path, path: ModulePath, file: &Path) {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.module(workspace, path, file, without_tests(parsed.items));
    }

    fn module(&mut self, workspace: &Path, path: ModulePath, file: &Path, items: Vec<Item>) {
        let is_root = path.len() == 1;
        for item in &items {
            let Item::Mod(ItemMod { ident, content, .. }) = item else { continue };
            let below: ModulePath = path.iter().cloned().chain([ident.to_string()]).collect();
            if let Some((_, items)) = content {
                self.module(workspace, below, file, without_tests(items.clone()));
            } else {
                let folder =
                    if is_root { file.parent().unwrap().to_owned() } else { file.with_extension("") };
                self.file(workspace, below, &folder.join(format!("{ident}.rs")));
            }
        }
        let file = file.strip_prefix(workspace).unwrap().to_owned();
        self.modules.insert(path, Module { file, items });
    }
}

/// The entry of each crate with the name by which others import the crate. A program beside a library is a crate of its
/// own and holds no logic, so only the library is read.
fn roots(workspace: &Path) -> Vec<(String, PathBuf)> {
    let manifest = fs::read_to_string(workspace.join("Cargo.toml")).unwrap();
    let members =
        manifest.lines().find_map(|line| line.strip_prefix("members = [")).expect("members in one line");
    let members: Vec<&str> = members.split('"').skip(1).step_by(2).collect();
    assert!(members.contains(&"."), "the plugin is a member");
    let found = members.into_iter().map(|member| {
        let folder = workspace.join(member);
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = ")).expect("a name");
        let source = folder.join("src");
        let entry =
            ["lib.rs", "main.rs"].map(|file| source.join(file)).into_iter().find(|file| file.exists());
        (name.trim_matches('"').replace('-', "_"), entry.expect("an entry"))
    });
    found.collect()
}

fn without_tests(items: Vec<Item>) -> Vec<Item> {
    items.into_iter().filter(|item| !attributes(item).iter().any(is_test)).collect()
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(x) => &x.attrs,
        Item::Enum(x) => &x.attrs,
        Item::Fn(x) => &x.attrs,
        Item::Impl(x) => &x.attrs,
        Item::Mod(x) => &x.attrs,
        Item::Static(x) => &x.attrs,
        Item::Struct(x) => &x.attrs,
        Item::Trait(x) => &x.attrs,
        Item::Type(x) => &x.attrs,
        Item::Use(x) => &x.attrs,
        _ => &[],
    }
}

/// `#[cfg(test)]`, `#[cfg(all(test, ...))]`, `#[test]`.
fn is_test(attribute: &Attribute) -> bool {
    let Meta::List(list) = &attribute.meta else { return attribute.path().is_ident("test") };
    let words = list.tokens.to_string();
    list.path.is_ident("cfg")
        && !words.contains("not")
        && words.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "test")
        && !words.starts_with("any")
}

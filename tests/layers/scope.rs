//! Which file defines what a path names: through modules, imports and re-exports.

use std::{collections::BTreeMap, path::Path};

use syn::{Item, UseTree};

use crate::modules::{Crates, Module, ModulePath};

/// How many imports may lead to a definition; more are a fault of this reader.
const HOPS: usize = 20;

/// An import: the name that it brings, and the path behind that name.
pub(crate) struct Import {
    pub(crate) name: String,
    pub(crate) path: Vec<String>,
    /// Whether others may import the name from here.
    pub(crate) reexport: bool,
}

/// All names of all modules.
pub(crate) struct Scopes<'a> {
    crates: &'a Crates,
    imports: BTreeMap<&'a ModulePath, Vec<Import>>,
}

/// What a path leads to: a module, or in it what stands there under a name.
pub(crate) struct Target {
    pub(crate) module: ModulePath,
    pub(crate) item: Option<String>,
}

impl<'a> Scopes<'a> {
    pub(crate) fn of(crates: &'a Crates) -> Self {
        let imports = crates.modules.iter().map(|(path, module)| (path, imports(module))).collect();
        Self { crates, imports }
    }

    pub(crate) fn imports(&self, module: &ModulePath) -> &[Import] {
        &self.imports[module]
    }

    pub(crate) fn file(&self, module: &ModulePath) -> &'a Path {
        &self.crates.modules[module].file
    }

    /// What `path` names when it stands in `module`; nothing for what is not the workspace's.
    pub(crate) fn resolve(&self, module: &ModulePath, path: &[String]) -> Option<Target> {
        self.hop(module, path, HOPS)
    }

    fn hop(&self, module: &ModulePath, path: &[String], hops: usize) -> Option<Target> {
        let hops = hops.checked_sub(1)?;
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.inside(&module[..1].to_vec(), rest, hops),
            "self" => self.inside(module, rest, hops),
            "super" => self.inside(&module[..module.len() - 1].to_vec(), rest, hops),
            _ => self.named(module, path, hops).or_else(|| {
                let root = vec![first.clone()];
                self.crates.modules.contains_key(&root).then(|| self.inside(&root, rest, hops))?
            }),
        }
    }

    fn inside(&self, module: &ModulePath, path: &[String], hops: usize) -> Option<Target> {
        match path.first().map(String::as_str) {
            None => Some(Target { module: module.clone(), item: None }),
            Some("super" | "self") => self.hop(module, path, hops),
            Some(_) => self.named(module, path, hops),
        }
    }

    /// Of a path whose first name is in the scope of `module`.
    fn named(&self, module: &ModulePath, path: &[String], hops: usize) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        let below: ModulePath = module.iter().cloned().chain([first.clone()]).collect();
        if self.crates.modules.contains_key(&below) {
            return self.inside(&below, rest, hops);
        }
        if self.crates.modules.get(module)?.items.iter().any(|item| name(item).as_ref() == Some(first)) {
            return Some(Target { module: module.clone(), item: Some(first.clone()) });
        }
        let import = self.imports[module].iter().find(|import| &import.name == first);
        let through = |import: &Import| {
            let path: Vec<String> = import.path.iter().chain(rest).cloned().collect();
            // A name that is imported under itself comes from outside.
            (import.path.first() != Some(first) || import.path.len() > 1)
                .then(|| self.hop(module, &path, hops))?
        };
        if let Some(import) = import {
            return through(import);
        }
        self.imports[module].iter().filter(|import| import.name == "*").find_map(|glob| {
            let path: Vec<String> = glob.path.iter().chain(path).cloned().collect();
            self.hop(module, &path, hops)
        })
    }
}

fn imports(module: &Module) -> Vec<Import> {
    let mut imports = Vec::new();
    for item in &module.items {
        if let Item::Use(item) = item {
            let reexport = !matches!(item.vis, syn::Visibility::Inherited);
            leaves(&item.tree, &mut Vec::new(), &mut |name, path| {
                imports.push(Import { name, path, reexport });
            });
        }
    }
    imports
}

pub(crate) fn leaves(tree: &UseTree, prefix: &mut Vec<String>, found: &mut impl FnMut(String, Vec<String>)) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            leaves(&path.tree, prefix, found);
            prefix.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            found(prefix.last().cloned().unwrap_or_default(), prefix.clone());
        }
        UseTree::Name(name) => {
            let path = prefix.iter().cloned().chain([name.ident.to_string()]).collect();
            found(name.ident.to_string(), path);
        }
        UseTree::Rename(rename) if rename.ident == "self" => found(rename.rename.to_string(), prefix.clone()),
        UseTree::Rename(rename) => {
            let path = prefix.iter().cloned().chain([rename.ident.to_string()]).collect();
            found(rename.rename.to_string(), path);
        }
        UseTree::Glob(_) => found("*".to_owned(), prefix.clone()),
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, prefix, found)),
    }
}

/// The name that an item defines.
pub(crate) fn name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(x) => &x.ident,
        Item::Enum(x) => &x.ident,
        Item::Fn(x) => &x.sig.ident,
        Item::Static(x) => &x.ident,
        Item::Struct(x) => &x.ident,
        Item::Trait(x) => &x.ident,
        Item::Type(x) => &x.ident,
        Item::Union(x) => &x.ident,
        Item::Macro(x) => x.ident.as_ref()?,
        _ => return None,
    };
    Some(ident.to_string())
}

//! Arrows: a file names what another file defines. A re-export is a sign on the door, not an arrow.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{Item, visit::Visit};

use crate::{
    modules::{Crates, ModulePath},
    scope::{Scopes, Target},
};

/// From file to file, with the names that the first takes from the second.
pub(crate) type Arrows = BTreeMap<(PathBuf, PathBuf), BTreeSet<String>>;

/// Every arrow of every crate.
pub(crate) fn all(crates: &Crates) -> Arrows {
    let scopes = Scopes::of(crates);
    let mut arrows = Arrows::new();
    for (path, module) in &crates.modules {
        let mut paths = Paths::default();
        module
            .items
            .iter()
            .filter(|item| !matches!(item, Item::Mod(_)))
            .for_each(|item| paths.visit_item(item));
        let imports =
            scopes.imports(path).iter().filter(|import| !import.reexport).map(|import| &import.path);
        for named in paths.found.iter().chain(imports) {
            // A module by itself is no arrow: what is named in the module is.
            if let Some(Target { module: owner, item: Some(item) }) = scopes.resolve(path, named) {
                let (from, to) = (module.file.clone(), scopes.file(&owner).to_owned());
                if from != to {
                    arrows.entry((from, to)).or_default().insert(item);
                }
            }
        }
    }
    arrows
}

/// Types that have methods in another file than their own, a sentence each.
pub(crate) fn spread(crates: &Crates) -> Vec<String> {
    let scopes = Scopes::of(crates);
    let mut found = BTreeSet::new();
    for (path, module) in &crates.modules {
        for item in &module.items {
            let Item::Impl(block) = item else { continue };
            let (None, syn::Type::Path(of)) = (&block.trait_, &*block.self_ty) else { continue };
            let named: Vec<String> = of.path.segments.iter().map(|part| part.ident.to_string()).collect();
            if let Some(Target { module: owner, item: Some(name) }) = scopes.resolve(path, &named)
                && scopes.file(&owner) != module.file
            {
                let (at, home) = (module.file.display(), scopes.file(&owner).display());
                found.insert(format!("{at} has methods of {name}, which {home} defines"));
            }
        }
    }
    found.into_iter().collect()
}

/// The room of a file among the rooms directly below `house`: none for the house itself and for what is elsewhere.
pub(crate) fn room_below(house: &ModulePath, module: &ModulePath) -> Option<String> {
    (module.len() > house.len() && module.starts_with(house)).then(|| module[house.len()].clone())
}

#[derive(Default)]
struct Paths {
    found: Vec<Vec<String>>,
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.found.push(path.segments.iter().map(|part| part.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
        self.visit_path(&call.path);
    }

    // Imports are read by themselves.
    fn visit_item_use(&mut self, _: &'ast syn::ItemUse) {}

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}

impl Paths {
    /// Paths in the arguments of a macro: names with `::` between them.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.found.push(std::mem::take(&mut path));
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.found.push(std::mem::take(&mut path));
                    self.tokens(group.stream());
                    colons = 0;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.found.push(std::mem::take(&mut path));
                    colons = 0;
                }
            }
        }
        self.found.push(path);
        self.found.retain(|path| !path.is_empty());
    }
}

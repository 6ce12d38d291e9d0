//! Names for specs that are given none: two words, as the old ksync's `sunny-husky`, new in the file.

/// How many names are tried before one gets a number.
const TRIES: usize = 50;

/// A name that `taken` does not know.
pub(crate) fn fresh_name(taken: impl Fn(&str) -> bool) -> String {
    let suggest = || petname::petname(2, "-").unwrap_or_else(|| "ksync".to_owned());
    first_free(suggest, taken)
}

fn first_free(suggest: impl Fn() -> String, taken: impl Fn(&str) -> bool) -> String {
    let last = suggest();
    if let Some(name) = (0..TRIES).map(|_| suggest()).find(|name| !taken(name)) {
        return name;
    }
    let mut number = 2_u64;
    while taken(&format!("{last}-{number}")) {
        number += 1;
    }
    format!("{last}-{number}")
}

#[cfg(test)]
mod tests {
    use super::{first_free, fresh_name};

    #[test]
    fn names_do_not_collide() {
        assert_eq!(first_free(|| "a-b".to_owned(), |name| name == "a-b" || name == "a-b-2"), "a-b-3");
        let name = fresh_name(|_| false);
        assert_eq!(name.split('-').count(), 2, "{name}");
    }
}

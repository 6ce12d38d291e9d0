//! Which paths are not synced: patterns in the syntax of syncthing's `.stignore`, with its meaning, so that one list
//! serves both.
//!
//! The first pattern that matches decides. `foo` matches that name at any depth, `/foo` only at the root, `a/b` a
//! stretch of names. `*` and `?` stay within a name, `**` doesn't; `[a-z]`, `[!a-z]`, `{a,b}` and `\` work. What
//! matches covers everything below it; `foo/` and `foo/**` cover only what is below. `!` takes back in, `(?i)` ignores
//! case, `(?d)` lets what matches go with its directory. Lines that start with `//` are comments. `#include` is refused.
//! Documented at docs.syncthing.net/users/ignoring.html; details as in syncthing 1.30's lib/ignore.

mod glob;

use crate::error::Error;
use glob::{Token, expand, match_name, match_path, tokens};
use std::borrow::Cow;

/// First line of a `.stignore` that ksync wrote.
pub const STIGNORE_HEADER: &str = "// Written by kubectl-ksync; changes here are overwritten.";

/// What has `(?d)` goes with its directory: it is made anew, or nobody misses it.
const DEFAULTS: &[&str] = &[
    // version control, as a disk that does not tell case apart has it, and syncthing's own
    ".[gG][iI][tT]",
    ".stfolder",
    ".stignore",
    ".stversions",
    "(?d).syncthing.*.tmp",
    "(?d)~syncthing~*.tmp",
    "*.sync-conflict-*",
    // ours
    "(?d).ksync.*.tmp",
    // vim: swap files, the write probe; most editors: backups
    "(?d).*.swp",
    "(?d).*.swo",
    "(?d).*.swx",
    "(?d)4913",
    "(?d)*~",
    // emacs: locks and auto-save; kate; LibreOffice; JetBrains' safe write
    "(?d).#*",
    "(?d)[#]*[#]",
    "(?d).*.kate-swp",
    "(?d).~lock.*[#]",
    "(?d)*___jb_tmp___",
    "(?d)*___jb_old___",
    // what the interpreter writes beside the source
    "(?d)__pycache__",
];

/// The pattern that matches the relative path `path`, what is below it, and hardly anything else: blanks at its end and
/// line breaks, which a list of patterns can't hold, stand for any character.
pub fn pattern_of(path: &str) -> String {
    let special = |c| matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '\\' | '!' | '#' | '(');
    let kept = path.trim_end().len();
    let mut pattern = String::from("/");
    for (at, c) in path.char_indices() {
        if at >= kept || matches!(c, '\n' | '\r') {
            pattern.push('?');
            continue;
        }
        if special(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// A list of patterns.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    lines: Vec<String>,
    rules: Vec<Rule>,
    folds: bool,
    negates: bool,
}

#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools)] // each is one mark of the pattern's syntax
struct Rule {
    negate: bool,
    deletable: bool,
    fold: bool,
    rooted: bool,
    /// `foo/`: what is below, not the directory itself.
    below_only: bool,
    /// Within one name, or over several.
    single: bool,
    tokens: Vec<Token>,
}

impl Ignore {
    /// Ignores nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// What is ignored unless the user says otherwise.
    pub fn defaults() -> &'static [&'static str] {
        DEFAULTS
    }

    /// Exactly these patterns.
    pub fn new(patterns: &[String]) -> Result<Self, Error> {
        let mut ignore = Self::none();
        for pattern in patterns {
            ignore.add(pattern)?;
        }
        Ok(ignore)
    }

    /// These patterns, then the defaults: a `!` among them takes a default back.
    pub fn with_defaults(patterns: &[String]) -> Result<Self, Error> {
        let mut ignore = Self::new(patterns)?;
        for pattern in DEFAULTS {
            ignore.add(pattern)?;
        }
        Ok(ignore)
    }

    /// Whether `path` (relative, `/` between names) is ignored, by itself or with a directory above it.
    pub fn matches(&self, path: &str) -> bool {
        self.deciding(path).is_some_and(|rule| !rule.negate)
    }

    /// Whether `path` is ignored by a pattern with `(?d)`: it does not keep the directory that it is in from being deleted.
    pub fn goes_with_its_directory(&self, path: &str) -> bool {
        self.deciding(path).is_some_and(|rule| !rule.negate && rule.deletable)
    }

    fn deciding(&self, path: &str) -> Option<&Rule> {
        let folded = if self.folds { Cow::Owned(path.to_lowercase()) } else { Cow::Borrowed(path) };
        self.rules.iter().find(|rule| rule.matches(if rule.fold { &folded } else { path }))
    }

    /// Whether what is called `name` is left out wherever it lies, with all below it: by a rule for the name alone or for
    /// everything, before which nothing is taken back in.
    pub fn leaves_out_everywhere(&self, name: &str) -> bool {
        let is_wild = |token: &Token| matches!(token, Token::Star | Token::DoubleStar);
        let mut first = self.rules.iter().take_while(|rule| !rule.negate).filter(|rule| !rule.below_only);
        first.any(|rule| {
            rule.tokens.iter().all(is_wild) || (rule.single && !rule.rooted && match_name(&rule.tokens, name))
        })
    }

    /// Whether something below an ignored directory may still be wanted.
    pub fn has_negation(&self) -> bool {
        self.negates
    }

    /// The patterns as given, without comments and blanks.
    pub fn patterns(&self) -> &[String] {
        &self.lines
    }

    fn add(&mut self, pattern: &str) -> Result<(), Error> {
        let bad = |reason| Error::Pattern { pattern: pattern.to_owned(), reason };
        if pattern.contains(['\n', '\r', '\0']) {
            return Err(bad("it has a line break or a NUL"));
        }
        let line = pattern.trim();
        if line.is_empty() || line.starts_with("//") {
            return Ok(());
        }
        if line.starts_with("#include") {
            return Err(bad("`#include` is not supported"));
        }
        for rule in Rule::parse(line).map_err(bad)? {
            self.folds |= rule.fold;
            self.negates |= rule.negate;
            self.rules.push(rule);
        }
        self.lines.push(line.to_owned());
        Ok(())
    }
}

impl Rule {
    fn parse(line: &str) -> Result<Vec<Self>, &'static str> {
        // syncthing folds case by default where the file system does.
        let (mut negate, mut fold, mut deletable) = (false, cfg!(target_os = "macos"), false);
        let mut folds_by_prefix = false;
        let mut rest = line;
        loop {
            if let Some(after) = rest.strip_prefix('!').filter(|_| !negate) {
                (negate, rest) = (true, after);
            } else if let Some(after) = rest.strip_prefix("(?i)").filter(|_| !folds_by_prefix) {
                (fold, folds_by_prefix, rest) = (true, true, after);
            } else if let Some(after) = rest.strip_prefix("(?d)").filter(|_| !deletable) {
                (deletable, rest) = (true, after);
            } else {
                break;
            }
        }
        if rest.is_empty() {
            return Err("it is empty");
        }
        let rest = if fold { Cow::Owned(rest.to_lowercase()) } else { Cow::Borrowed(rest) };
        let (rooted, rest) = match rest.strip_prefix('/') {
            Some(after) => (true, after),
            None => (false, rest.strip_prefix("**/").unwrap_or(&rest)),
        };
        let (below_only, body) = match rest.strip_suffix("/**").or_else(|| rest.strip_suffix('/')) {
            Some(before) if !before.is_empty() => (true, before),
            _ => (false, rest),
        };
        let mut rules = Vec::new();
        for plain in expand(body)? {
            let tokens = tokens(&plain)?;
            let single = !tokens.iter().any(|token| matches!(token, Token::DoubleStar | Token::Char('/')));
            rules.push(Self { negate, deletable, fold, rooted, below_only, single, tokens });
        }
        Ok(rules)
    }

    fn matches(&self, path: &str) -> bool {
        if !self.single {
            return match_path(&self.tokens, path, self.rooted, self.below_only);
        }
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            if (names.peek().is_some() || !self.below_only) && match_name(&self.tokens, name) {
                return true;
            }
            if self.rooted {
                return false;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignore(patterns: &[&str]) -> Ignore {
        Ignore::new(&patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    /// One row per rule of syncthing's documentation: pattern, what it matches, what it doesn't.
    #[test]
    fn patterns_mean_what_syncthing_says() {
        let rows: &[(&str, &[&str], &[&str])] = &[
            ("foo", &["foo", "sub/foo", "foo/x", "sub/foo/x/y"], &["foobar", "barfoo", "fo"]),
            ("/foo", &["foo", "foo/x"], &["sub/foo"]),
            ("te*ne", &["telephone", "subdir/telephone"], &["tele/phone", "telephones"]),
            ("te**ne", &["telephone", "tele/phone", "x/te/l/ne"], &["tea"]),
            ("te??st", &["tebest"], &["teb/st", "test", "tebeest"]),
            ("[a-z]rl", &["arl", "x/zrl"], &["Arl", "rl"]),
            ("[!a-c]x", &["dx"], &["ax", "/x"]),
            ("*.{jpg,p[n]g}", &["a.jpg", "b/c.png"], &["a.gif", "a.{jpg"]),
            ("a/b", &["a/b", "x/a/b/c"], &["a/x/b", "ab", "xa/b"]),
            ("/a/b", &["a/b/c"], &["x/a/b"]),
            ("a/**/b", &["a/x/b", "a/x/y/b/z"], &["a/b"]),
            ("**/foo", &["foo", "x/foo"], &["xfoo"]),
            ("foo/", &["foo/x", "x/foo/y/z"], &["foo", "x/foo"]),
            ("foo/**", &["foo/x"], &["foo"]),
            ("/*", &["a", "a/b"], &[]),
            ("**", &["a", "a/b"], &[]),
            ("/**", &["a", "a/b"], &[]),
            (r"\*x", &["*x"], &["ax"]),
            ("(?i)readme", &["README", "a/ReadMe"], &["read"]),
            ("(?d)(?i)!x", &[], &["x", "X"]),
            ("ünï*", &["ünïcode"], &["unicode"]),
            ("*a*a*a*a*a*b", &["aaaaaab"], &["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]),
        ];
        for (pattern, yes, no) in rows {
            let ignore = ignore(&[pattern]);
            for path in *yes {
                assert!(ignore.matches(path), "{pattern} should match {path}");
            }
            for path in *no {
                assert!(!ignore.matches(path), "{pattern} should not match {path}");
            }
        }
    }

    #[test]
    fn a_path_as_a_pattern_is_that_path() {
        for path in ["a", "a/b c", "odd[1]*{x,y}?!#(?i)", "blank ", "line\nbreak", "ü\\"] {
            let ignore = Ignore::new(&[pattern_of(path)]).unwrap();
            assert!(ignore.matches(path) && ignore.matches(&format!("{path}/below")), "{path:?}");
            assert!(
                !ignore.matches(&format!("x/{path}")) && !ignore.matches(&format!("{path}x")),
                "{path:?}"
            );
        }
    }

    #[test]
    fn a_name_is_left_out_everywhere_only_by_a_rule_before_which_nothing_is_taken_back() {
        for (patterns, everywhere) in [
            (&[".git"][..], true),
            (&["*.log", "**/.git"], true),
            (&["(?i).GIT"], true),
            (&[".g*"], true),
            (&["*"], true),
            (&["/**"], true),
            (&[".git", "!config"], true),
            (&["!config", ".git"], false),
            (&["!/src", "*"], false),
            (&["/.git"], false),
            (&[".git/"], false),
            (&["/.git", "/*/.git"], false),
            (&["a/.git"], false),
            (&["x"], false),
            (&[], false),
        ] {
            assert_eq!(ignore(patterns).leaves_out_everywhere(".git"), everywhere, "{patterns:?}");
        }
    }

    #[test]
    fn the_first_match_wins() {
        let ignore = ignore(&["!/foo/keep", "/foo", "// comment", "", "!bar", "bar"]);
        assert!(ignore.matches("foo/x") && ignore.matches("foo"));
        assert!(!ignore.matches("foo/keep/x") && !ignore.matches("bar"));
        assert!(ignore.has_negation());
    }

    #[test]
    fn the_defaults_spare_ordinary_files() {
        let ignore = Ignore::with_defaults(&["!.git".to_owned()]).unwrap();
        for path in [
            "a/.main.rs.swp",
            "a/.GIT/config",
            "x~",
            "d/__pycache__/m.pyc",
            ".#lock",
            "#save#",
            "4913",
            ".ksync.0af3.tmp",
            ".stfolder/x",
        ] {
            assert!(ignore.matches(path), "{path}");
        }
        for path in [
            ".git/HEAD",
            "main.rs",
            ".swp",
            ".idea/workspace.xml",
            ".gitignore",
            ".env",
            "a#b",
            "x.tmp",
            ".ksyncignore",
        ] {
            assert!(!ignore.matches(path), "{path}");
        }
    }

    #[test]
    fn bad_patterns_are_named() {
        for pattern in ["[a", "{a,b", "!", "#include x", "a\nb", "[z-a]", "x\\"] {
            assert!(matches!(Ignore::new(&[pattern.to_owned()]), Err(Error::Pattern { .. })), "{pattern}");
        }
        let bomb = "{a,b}".repeat(20);
        assert!(Ignore::new(&[bomb]).is_err());
    }

    #[test]
    fn no_pattern_breaks_it_or_takes_for_ever() {
        let samples =
            ["/a/*.log", "(?d)(?i)!/sub/**/x{a,b}[a-z]?", "**/a*a*a*a*a*a*a*a*b", "#include x", "\\*"];
        let long = "a".repeat(200);
        ksync_mangle::each_text(&samples, |text| {
            let patterns: Vec<String> = text.lines().map(str::to_owned).collect();
            let Ok(ignore) = Ignore::with_defaults(&patterns) else { return };
            for path in ["a", "sub/deep/xa", &long, &format!("{long}/{long}/{long}")] {
                let _ = (ignore.matches(path), ignore.goes_with_its_directory(path));
            }
            assert!(Ignore::new(&[pattern_of(text)]).is_ok(), "of a path");
        });
    }
}

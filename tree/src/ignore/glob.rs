//! One glob as tokens, and matching without exponential cases: the patterns come from a user, the names from anybody.

use std::str::Chars;

/// Most alternatives that one pattern's braces may expand to.
const MAX_ALTERNATIVES: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Char(char),
    /// `?`
    One,
    /// `*`
    Star,
    /// `**`
    DoubleStar,
    /// `[..]`, ranges inclusive; never matches `/`.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Token {
    fn accepts(&self, c: char) -> bool {
        match self {
            Self::Char(own) => *own == c,
            Self::One | Self::Star => c != '/',
            Self::DoubleStar => true,
            Self::Class { negated, ranges } => {
                c != '/' && ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *negated
            }
        }
    }
}

/// Reads a pattern without braces.
pub(super) fn tokens(pattern: &str) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '\\' => Token::Char(chars.next().ok_or("it ends in a backslash")?),
            '?' => Token::One,
            '*' if chars.next_if_eq(&'*').is_some() => {
                while chars.next_if_eq(&'*').is_some() {}
                Token::DoubleStar
            }
            '*' => Token::Star,
            '[' => {
                let negated = chars.next_if(|c| matches!(c, '!' | '^')).is_some();
                let mut ranges = Vec::new();
                loop {
                    let from = match chars.next().ok_or("it has a `[` without its `]`")? {
                        ']' if !ranges.is_empty() => break,
                        '\\' => chars.next().ok_or("it ends in a backslash")?,
                        c => c,
                    };
                    let mut to = from;
                    if chars.peek() == Some(&'-') {
                        let mut ahead = chars.clone();
                        ahead.next();
                        if let Some(end) = ahead.next().filter(|c| *c != ']') {
                            to = end;
                            chars = ahead;
                        }
                    }
                    if to < from {
                        return Err("it has a range that runs backwards");
                    }
                    ranges.push((from, to));
                }
                Token::Class { negated, ranges }
            }
            c => Token::Char(c),
        });
    }
    Ok(tokens)
}

/// The patterns that one with `{a,b}` stands for, nested ones included.
pub(super) fn expand(pattern: &str) -> Result<Vec<String>, &'static str> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_owned()];
    while let Some(next) = open.pop() {
        match braces(&next)? {
            None => done.push(next),
            Some((before, alternatives, after)) => {
                open.extend(alternatives.iter().map(|alternative| format!("{before}{alternative}{after}")));
            }
        }
        if done.len() + open.len() > MAX_ALTERNATIVES {
            return Err("its braces stand for too many patterns");
        }
    }
    done.reverse();
    Ok(done)
}

type Braces<'a> = (&'a str, Vec<&'a str>, &'a str);

/// The first pair of braces: what is before, the alternatives, what is after.
fn braces(pattern: &str) -> Result<Option<Braces<'_>>, &'static str> {
    let (mut depth, mut start, mut cuts) = (0_usize, 0, Vec::new());
    let (mut escaped, mut in_class) = (false, false);
    for (i, c) in pattern.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' if !in_class => in_class = true,
            ']' => in_class = false,
            _ if in_class => {}
            '{' => {
                if depth == 0 {
                    start = i;
                    cuts.push(i);
                }
                depth += 1;
            }
            ',' if depth == 1 => cuts.push(i),
            '}' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    cuts.push(i);
                    let alternatives = cuts.windows(2).map(|pair| &pattern[pair[0] + 1..pair[1]]).collect();
                    return Ok(Some((&pattern[..start], alternatives, &pattern[i + 1..])));
                }
            }
            _ => {}
        }
    }
    if depth > 0 { Err("it has a `{` without its `}`") } else { Ok(None) }
}

/// Whether the tokens (without `/` and `**`) match one whole name. Going back to the last star is enough.
pub(super) fn match_name(tokens: &[Token], name: &str) -> bool {
    let (mut at, mut rest) = (0, name.chars());
    let mut star: Option<(usize, Chars<'_>)> = None;
    loop {
        let stuck = match tokens.get(at) {
            None if rest.as_str().is_empty() => return true,
            None => true,
            Some(Token::Star) => {
                at += 1;
                star = Some((at, rest.clone()));
                false
            }
            Some(token) => {
                let mut ahead = rest.clone();
                if ahead.next().is_some_and(|c| token.accepts(c)) {
                    (at, rest) = (at + 1, ahead);
                    false
                } else {
                    true
                }
            }
        };
        if stuck {
            let Some((after, from)) = &mut star else { return false };
            if from.next().is_none() {
                return false;
            }
            (at, rest) = (*after, from.clone());
        }
    }
}

/// Whether the tokens match a stretch of whole names of `path`: from its start (`rooted`) or from any name, to its end
/// or (when everything below counts) to any later name. Follows all ways at once, one pass over the path.
pub(super) fn match_path(tokens: &[Token], path: &str, rooted: bool, below_only: bool) -> bool {
    let end = tokens.len();
    let mut here = vec![false; end + 1];
    let mut next = vec![false; end + 1];
    let mut at_start = true;
    let mut first = true;
    for c in path.chars() {
        if at_start && (first || !rooted) {
            here[0] = true;
        }
        settle(tokens, &mut here);
        if c == '/' && here[end] && !at_start {
            return true;
        }
        next.fill(false);
        for (i, token) in tokens.iter().enumerate() {
            if here[i] && token.accepts(c) {
                next[if matches!(token, Token::Star | Token::DoubleStar) { i } else { i + 1 }] = true;
            }
        }
        std::mem::swap(&mut here, &mut next);
        at_start = c == '/';
        first = false;
    }
    settle(tokens, &mut here);
    here[end] && !below_only
}

/// Stars may match nothing.
fn settle(tokens: &[Token], states: &mut [bool]) {
    for (i, token) in tokens.iter().enumerate() {
        if states[i] && matches!(token, Token::Star | Token::DoubleStar) {
            states[i + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_expand_nested_and_escaped() {
        assert_eq!(expand("a{b,c{d,e}}f").unwrap(), ["abf", "acdf", "acef"]);
        assert_eq!(expand(r"a\{b,c\}").unwrap(), [r"a\{b,c\}"]);
        assert_eq!(expand("[{]x").unwrap(), ["[{]x"]);
    }

    #[test]
    fn classes_take_dashes_and_brackets() {
        let class = |pattern: &str, c: char| tokens(pattern).unwrap()[0].accepts(c);
        assert!(class("[]a]", ']') && class("[a-]", '-') && class("[^a]", 'b') && !class("[^a]", '/'));
    }
}

//! Label selectors, understood as the API server understands them (`k8s.io/apimachinery/pkg/labels`), so that one that
//! can't be used is told where it is written: `create` asks here, and so does whoever reads the file.

use std::iter::Peekable;

/// Why a selector can't be used; one phrase.
pub(super) fn check(selector: &str) -> Result<(), String> {
    let tokens = tokens(selector);
    if tokens.is_empty() {
        return Err("it names no label".to_owned());
    }
    let mut rest = tokens.into_iter().peekable();
    loop {
        requirement(&mut rest)?;
        match rest.next() {
            None => return Ok(()),
            Some(Token::Sign(",")) => {}
            Some(other) => return Err(format!("`,` is expected instead of {}", other.shown())),
        }
        if rest.peek().is_none() {
            return Err("a label is expected after the last `,`".to_owned());
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Sign(&'static str),
}

impl Token {
    fn shown(&self) -> String {
        match self {
            Self::Word(word) => format!("`{word}`"),
            Self::Sign(sign) => format!("`{sign}`"),
        }
    }
}

/// The longest come first.
const SIGNS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", "<", ">"];

fn tokens(text: &str) -> Vec<Token> {
    let mut rest = text.trim_start();
    let mut found = Vec::new();
    while !rest.is_empty() {
        if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            found.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else {
            let ends = |c: char| c.is_whitespace() || "=!(),<>".contains(c);
            let (word, after) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
            found.push(Token::Word(word.to_owned()));
            rest = after;
        }
        rest = rest.trim_start();
    }
    found
}

type Rest = Peekable<std::vec::IntoIter<Token>>;

/// `KEY`, `!KEY`, `KEY = VALUE`, `KEY in (VALUE, ...)` and the like.
fn requirement(rest: &mut Rest) -> Result<(), String> {
    let absent = rest.next_if_eq(&Token::Sign("!")).is_some();
    let key = match rest.next() {
        Some(Token::Word(key)) => key,
        other => return Err(expected("a label", other.as_ref())),
    };
    label_key(&key)?;
    if absent || matches!(rest.peek(), None | Some(Token::Sign(","))) {
        return Ok(());
    }
    match rest.next() {
        Some(Token::Sign("=" | "==" | "!=")) => label_value(&one_value(rest)?),
        Some(Token::Sign(sign @ ("<" | ">"))) => {
            let value = one_value(rest)?;
            label_value(&value)?;
            let number = value.parse::<i64>().map(drop);
            number.map_err(|_| format!("a whole number is expected after `{sign}` instead of `{value}`"))
        }
        Some(Token::Word(word)) if word == "in" || word == "notin" => values(&word, rest),
        other => {
            Err(expected(&format!("an operator (`=`, `!=`, `in`, `notin`) after `{key}`"), other.as_ref()))
        }
    }
}

/// A value, which may be left out.
fn one_value(rest: &mut Rest) -> Result<String, String> {
    match rest.peek() {
        None | Some(Token::Sign(",")) => return Ok(String::new()),
        Some(_) => {}
    }
    match rest.next() {
        Some(Token::Word(value)) => Ok(value),
        other => Err(expected("a value", other.as_ref())),
    }
}

fn values(operator: &str, rest: &mut Rest) -> Result<(), String> {
    match rest.next() {
        Some(Token::Sign("(")) => {}
        other => return Err(expected(&format!("`(` after `{operator}`"), other.as_ref())),
    }
    if rest.next_if_eq(&Token::Sign(")")).is_some() {
        return Err(format!("a value is expected after `{operator}` instead of `()`"));
    }
    loop {
        // One that is left out is the empty value.
        if let Some(Token::Word(value)) = rest.next_if(|token| matches!(token, Token::Word(_))) {
            label_value(&value)?;
        }
        match rest.next() {
            Some(Token::Sign(")")) => return Ok(()),
            Some(Token::Sign(",")) => {}
            other => return Err(expected("`,` or `)`", other.as_ref())),
        }
    }
}

fn expected(what: &str, found: Option<&Token>) -> String {
    match found {
        Some(found) => format!("{what} is expected instead of {}", found.shown()),
        None => format!("{what} is expected at its end"),
    }
}

/// `NAME` or `PREFIX/NAME`, the prefix a DNS name.
fn label_key(key: &str) -> Result<(), String> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let dns = |part: &str| {
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !part.is_empty() && part.chars().all(fine) && !part.starts_with('-') && !part.ends_with('-')
    };
    let prefixed = prefix.is_none_or(|prefix| prefix.len() <= 253 && prefix.split('.').all(dns));
    let fine = prefixed && !name.is_empty() && is_name(name);
    fine.then_some(()).ok_or_else(|| format!("`{key}` can't be a label"))
}

fn label_value(value: &str) -> Result<(), String> {
    let fine = value.is_empty() || is_name(value);
    fine.then_some(()).ok_or_else(|| format!("`{value}` can't be a label's value"))
}

/// Up to 63 letters, digits, `-`, `_` and `.`, with a letter or digit at each end.
fn is_name(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63
        && text.chars().all(|c| edge(c) || matches!(c, '-' | '_' | '.'))
        && text.starts_with(edge)
        && text.ends_with(edge)
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_the_api_server_takes() {
        let long = format!("a={}", "v".repeat(63));
        for good in [
            "app=app",
            "app==app",
            " app = app , tier != test ",
            "app",
            "!app",
            "app,!tier",
            "app in (a, b)",
            "app notin (a)",
            "app in (a,)",
            "app in (,a)",
            "app=",
            "app=,tier=x",
            "in=x",
            "in in (in)",
            "app=in",
            "example.com/app=a_b.c-d",
            "n>5",
            "app\tin\n(a)",
            &long,
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_it_refuses() {
        for (bad, why) in [
            ("app in web", "`(` after `in` is expected instead of `web`"),
            ("app in ()", "a value is expected after `in` instead of `()`"),
            ("app in (a", "`,` or `)` is expected at its end"),
            ("app in (a b)", "`,` or `)` is expected instead of `b`"),
            ("app in", "`(` after `in` is expected at its end"),
            ("app==,=x", "a label is expected instead of `=`"),
            ("app=a b", "`,` is expected instead of `b`"),
            ("app web", "an operator (`=`, `!=`, `in`, `notin`) after `app` is expected instead of `web`"),
            ("=x", "a label is expected instead of `=`"),
            ("!app=x", "`,` is expected instead of `=`"),
            ("app=(a)", "a value is expected instead of `(`"),
            ("app=a,", "a label is expected after the last `,`"),
            (",", "a label is expected instead of `,`"),
            (" ", "it names no label"),
            ("n < -5", "`-5` can't be a label's value"),
            ("n>x", "a whole number is expected after `>` instead of `x`"),
            ("app=ü", "`ü` can't be a label's value"),
            ("app=-a", "`-a` can't be a label's value"),
            ("Ex.com/app", "`Ex.com/app` can't be a label"),
            ("/app", "`/app` can't be a label"),
            ("a/b/c", "`a/b/c` can't be a label"),
        ] {
            assert_eq!(check(bad), Err(why.to_owned()), "{bad}");
        }
        assert!(check(&format!("a={}", "v".repeat(64))).is_err());
    }
}

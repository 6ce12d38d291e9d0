//! An error and its causes as one sentence for a person.

use std::error::Error;

/// An error and its causes in one sentence. A cause that its parent has already quoted is not said twice.
pub fn chain(error: &dyn Error) -> String {
    let mut sentence = first_line(&error.to_string());
    let mut next = error.source();
    while let Some(cause) = next {
        let text = first_line(&cause.to_string());
        if !sentence.contains(&text) {
            sentence = format!("{sentence}: {text}");
        }
        next = cause.source();
    }
    sentence
}

/// The first line that is not empty: what follows is a picture of the input, or a stack.
fn first_line(text: &str) -> String {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::chain;

    #[derive(Debug, thiserror::Error)]
    #[error("open `x`")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn causes_follow_once() {
        assert_eq!(chain(&Outer(std::io::Error::other("no space"))), "open `x`: no space");
        assert_eq!(chain(&Outer(std::io::Error::other("open `x`"))), "open `x`");
        assert_eq!(chain(&Outer(std::io::Error::other("bad\n --> 1:2\n"))), "open `x`: bad");
    }
}

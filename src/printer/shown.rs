//! Names that others have given, as a terminal or a log may have them: what a character would do there instead of standing for
//! itself is spelt out. A container names its files as it likes, and its names stand in tables, sentences and logs.

use std::{borrow::Cow, io};

/// `text` with control characters, line breaks, and characters that are invisible or turn the order of others around, spelt
/// as Rust spells them: `\n`, `\u{1b}`, `\u{202e}`. What is not UTF-8 was replaced before.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if text.chars().all(stands_for_itself) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if stands_for_itself(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_debug());
        }
    }
    Cow::Owned(shown)
}

fn stands_for_itself(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // By std's table of what can be printed. A mark that belongs to the letter before it does stand for itself.
    let letter_and = ['a', c].iter().collect::<String>();
    letter_and.escape_debug().nth(1) == Some(c)
}

/// A log's writer, which is given an event at a time.
#[derive(Debug)]
pub(crate) struct ShownEvents<W>(pub(crate) W);

impl<W: io::Write> io::Write for ShownEvents<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let (line, end) = text.strip_suffix('\n').map_or((&*text, ""), |line| (line, "\n"));
        self.0.write_all(format!("{}{end}", shown(line)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{ShownEvents, shown};

    #[test]
    fn what_would_do_something_is_spelt_out() {
        for (text, expected) in [
            ("a\u{1b}[2Jb", r"a\u{1b}[2Jb"),
            ("tab\tnl\ncr\rdel\u{7f}", r"tab\tnl\ncr\rdel\u{7f}"),
            ("c1 \u{9b}31m", r"c1 \u{9b}31m"),
            ("txt.\u{202e}gpj.exe", r"txt.\u{202e}gpj.exe"),
            ("zero\u{200b}width\u{feff}", r"zero\u{200b}width\u{feff}"),
            ("isolate\u{2066}\u{2069}", r"isolate\u{2066}\u{2069}"),
            ("tag\u{e0041}", r"tag\u{e0041}"),
            ("line\u{2028}", r"line\u{2028}"),
            ("\0", r"\0"),
        ] {
            assert_eq!(shown(text), expected);
            assert_eq!(shown(expected), expected, "and not twice");
        }
    }

    #[test]
    fn usual_names_stay_as_they_are() {
        for text in ["", "a b", r#"it's "quoted" \ back"#, "grüße ☃ 日本語 हिन्दी e\u{301} 🙂", "a/b@c.txt"]
        {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn an_event_is_one_line_of_a_log() {
        let mut log = ShownEvents(Vec::new());
        log.write_all(b"path=/a\n forged\x1b[0m\xff\n").unwrap();
        log.write_all(b"next\n").unwrap();
        assert_eq!(String::from_utf8(log.0).unwrap(), "path=/a\\n forged\\u{1b}[0m\u{fffd}\nnext\n");
    }
}

//! Small things to do with the text that debuggers send.

/// The most that is kept of a text, in characters.
const LONGEST: usize = 512;

/// A text, cut in length.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

/// A version of Python, out of the path of something in its library.
pub(crate) fn python_of_path(path: &str) -> Option<&str> {
    let (_, rest) = path.split_once("/python3.")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let whole = rest.as_bytes().get(digits) == Some(&b'/');
    let from = path.len() - rest.len() - 2;
    (digits > 0 && digits < 4 && whole).then(|| &path[from..from + 2 + digits])
}

/// `3.11` of `3.11.7final0`.
pub(crate) fn major_minor(version: &str) -> Option<&str> {
    let mut dots = version.match_indices('.');
    dots.next()?;
    let end = dots.next().map_or(version.len(), |(at, _)| at);
    let short = &version[..end];
    let plain = short.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    (plain && short.len() < 10).then_some(short)
}

/// Undoes percent-encoding, as often as it was applied, up to twice; what is not encoded stays.
pub(crate) fn unquote(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..2 {
        if !text.contains('%') {
            break;
        }
        text = unquote_once(&text);
    }
    text
}

fn unquote_once(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let hex = |b: u8| {
            char::from(b)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        match more {
            [a, b, after @ ..] if *first == b'%' => {
                if let (Some(a), Some(b)) = (hex(*a), hex(*b)) {
                    bytes.push(a * 16 + b);
                    rest = after;
                    continue;
                }
                bytes.push(*first);
            }
            _ => bytes.push(*first),
        }
        rest = more;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The value of an attribute of the first tag of that name in some XML, with its entities replaced.
///
/// No parser: what debuggers write is machine-made, and what is not found is not learnt.
pub(crate) fn attribute(xml: &str, tag: &str, name: &str) -> Option<String> {
    let at = xml
        .match_indices(tag)
        .find(|(at, _)| xml[..*at].ends_with('<'))
        .map(|(at, _)| at)?;
    let tag_text = xml[at + tag.len()..].split('>').next()?;
    let mut rest = tag_text;
    loop {
        let (before, after) = rest.split_once("=\"")?;
        let (value, next) = after.split_once('"')?;
        if before.trim_start() == name || before.ends_with(&format!(" {name}")) {
            return Some(entities(value));
        }
        rest = next;
    }
}

fn entities(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

/// The path of a `file:` URI, or the text itself.
pub(crate) fn path_of_uri(uri: &str) -> String {
    let path = uri.strip_prefix("file://").unwrap_or(uri);
    let path = unquote_once(path);
    // file:///C:/x is C:/x.
    match path.as_bytes() {
        [b'/', drive, b':', ..] if drive.is_ascii_alphabetic() => path[1..].to_owned(),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_python_is_in_the_path_of_its_library() {
        let of = python_of_path;
        assert_eq!(of("/usr/lib/python3.11/runpy.py"), Some("3.11"));
        assert_eq!(of("/opt/python3.9/lib/x.py"), Some("3.9"));
        for path in [
            "/usr/bin/python3.11",
            "/srv/python3/x.py",
            "/python3./x",
            "",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
        assert_eq!(major_minor("3.11.7final0"), Some("3.11"));
        assert_eq!(major_minor("3.12"), Some("3.12"));
        assert_eq!(major_minor("x.y.z"), None);
    }

    #[test]
    fn text_is_unquoted_as_often_as_it_was_quoted() {
        assert_eq!(unquote("a%20b"), "a b");
        assert_eq!(unquote("%250A"), "\n");
        assert_eq!(unquote("100%"), "100%");
        assert_eq!(unquote("%zz%4"), "%zz%4");
        assert_eq!(unquote("%ff"), "\u{fffd}");
    }

    #[test]
    fn attributes_are_found_in_their_own_tag() {
        let xml = r#"<xml><thread id="pid_5_id_7" stop_reason="111"><frame id="9" file="a&amp;b.py" line="20"></frame>"#;
        assert_eq!(attribute(xml, "thread", "id").unwrap(), "pid_5_id_7");
        assert_eq!(attribute(xml, "frame", "file").unwrap(), "a&b.py");
        assert_eq!(attribute(xml, "frame", "line").unwrap(), "20");
        assert_eq!(attribute(xml, "thread", "line"), None);
        assert_eq!(attribute(xml, "reason", "id"), None);
        assert_eq!(attribute("<frame", "frame", "line"), None);
    }

    #[test]
    fn a_file_uri_is_a_path() {
        assert_eq!(path_of_uri("file:///srv/a%20b.php"), "/srv/a b.php");
        assert_eq!(path_of_uri("file:///C:/x.php"), "C:/x.php");
        assert_eq!(path_of_uri("/plain"), "/plain");
    }
}

//! Finding the few elements that matter in a gateway's XML.
//!
//! This is no parser: it looks for tags, with any namespace prefix, and takes what is between them. What a gateway
//! sends that is no XML gives nothing, in time that grows with its length alone.

/// The text within the first element of this name that has text alone.
pub(super) fn text<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let inner = elements(xml, name).next()?;
    (!inner.contains('<')).then(|| inner.trim())
}

/// What is within each element of this name; elements of one name are not expected in each other.
pub(super) fn elements<'a>(xml: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let mut rest = xml;
    std::iter::from_fn(move || {
        let (_, after) = find_tag(rest, |tag| local_name(tag) == name && !tag.ends_with('/'))?;
        let closing = |tag: &str| {
            tag.strip_prefix('/')
                .is_some_and(|tag| local_name(tag) == name)
        };
        let (before, beyond) = find_tag(after, closing)?;
        rest = beyond;
        Some(before)
    })
}

/// The first tag that `fits`: what is before it, and what is after it.
fn find_tag(xml: &str, fits: impl Fn(&str) -> bool) -> Option<(&str, &str)> {
    let mut from = 0;
    loop {
        let close = from + xml[from..].find('>')?;
        if let Some(open) = xml[from..close].rfind('<').map(|at| from + at)
            && fits(&xml[open + 1..close])
        {
            return Some((&xml[..open], &xml[close + 1..]));
        }
        from = close + 1;
    }
}

/// The name in a tag, without its namespace and its attributes.
fn local_name(tag: &str) -> &str {
    let name = tag
        .split(|c: char| c.is_ascii_whitespace() || c == '/')
        .next();
    let name = name.unwrap_or_default();
    name.rsplit(':').next().unwrap_or_default()
}

/// Text as it was meant.
pub(super) fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = "<?xml version='1.0'?><root xmlns='x'><serviceList><service>\
        <serviceType> a:1 </serviceType><controlURL>/one?a=1&amp;b</controlURL></service>\n\
        <u:service id='2'><serviceType>b:1</serviceType><controlURL/></u:service>\
        <services>no</services></serviceList></root>";

    #[test]
    fn elements_are_found_by_name() {
        let services: Vec<&str> = elements(XML, "service").collect();
        assert_eq!(services.len(), 2);
        assert_eq!(text(services[0], "serviceType"), Some("a:1"));
        assert_eq!(
            unescape(text(services[0], "controlURL").unwrap()),
            "/one?a=1&b"
        );
        assert_eq!(text(services[1], "controlURL"), None);
        assert_eq!(text(XML, "service"), None);
    }

    #[test]
    fn what_is_no_xml_has_no_elements() {
        for garbage in [
            "",
            "<",
            ">",
            "<service>",
            "</service><service>",
            "<service",
            "<<<>>>",
            "ä<ö>ü",
        ] {
            assert_eq!(elements(garbage, "service").next(), None, "{garbage}");
        }
    }

    #[test]
    fn a_flood_of_open_tags_ends_soon() {
        let flood = "<service>".repeat(14_000);
        assert_eq!(elements(&flood, "service").count(), 0);
        let flood = "<".repeat(128 << 10);
        assert_eq!(elements(&flood, "service").count(), 0);
        let flood = format!("{}>", "<".repeat(20_000));
        assert_eq!(elements(&flood, "service").count(), 0);
    }
}

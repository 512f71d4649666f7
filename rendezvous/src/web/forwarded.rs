//! For whom a reverse proxy speaks (`X-Forwarded-For`). Each proxy on the way appends whom it has seen, so only the
//! last one counts: that was written on this host, and the others by whoever liked to.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;

/// The address that the last proxy has seen.
pub(super) fn client(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?;
    let last = last.to_str().ok()?.rsplit(',').next()?.trim();
    let ip = last.trim_start_matches('[').trim_end_matches(']').parse();
    let ip = ip.or_else(|_| last.parse().map(|place: SocketAddr| place.ip()));
    ip.ok().map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn named(lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", HeaderValue::from_str(line).unwrap());
        }
        client(&headers).map(|ip| ip.to_string())
    }

    #[test]
    fn last_address_of_the_last_line_counts_whatever_stands_before_it() {
        let cases: [(&[&str], &str); 6] = [
            (&["192.0.2.1"], "192.0.2.1"),
            (&["203.0.113.9, 192.0.2.1"], "192.0.2.1"),
            (&["203.0.113.9", "nonsense , 192.0.2.1 "], "192.0.2.1"),
            (&["192.0.2.1:4711"], "192.0.2.1"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
        ];
        for (lines, expected) in cases {
            assert_eq!(named(lines).as_deref(), Some(expected), "{lines:?}");
        }
        assert_eq!(named(&["::ffff:192.0.2.1"]).as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn nobody_is_named_by_nothing_or_nonsense() {
        let cases: [&[&str]; 5] = [
            &[],
            &[""],
            &["unknown"],
            &["192.0.2.1,"],
            &["192.0.2.1", "x"],
        ];
        for lines in cases {
            assert_eq!(named(lines), None, "{lines:?}");
        }
    }
}

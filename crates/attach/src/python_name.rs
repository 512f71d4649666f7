//! What the executable file of a Python is called.

/// Whether this is the name of a Python's file: `python3.11`, `python3.14t` (without the lock of threads),
/// `python3.13d` and `python3.11-dbg` (built to be debugged themselves), `platform-python3.6` (Red Hat's own), `pypy3`.
pub(crate) fn is_python(name: &str) -> bool {
    let is_version = |version: &str| version.chars().all(|c| c.is_ascii_digit() || c == '.');
    let of_cpython = |rest: &str| match without_kind(rest) {
        "" => rest.is_empty() || rest == DEBUG,
        version => is_version(version),
    };
    let is_pypy = name.strip_prefix("pypy").is_some_and(is_version);
    is_pypy || of_name(name).is_some_and(of_cpython)
}

/// The version of CPython that is in the name of its file.
pub(crate) fn version(name: &str) -> Option<(u32, u32)> {
    let version = without_kind(of_name(name)?);
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// What Debian puts behind the name of one that was built to be debugged.
const DEBUG: &str = "-dbg";

/// What stands behind the name of CPython itself.
fn of_name(name: &str) -> Option<&str> {
    let name = name.strip_prefix("platform-").unwrap_or(name);
    name.strip_prefix("python")
}

/// A version without the marks for how it was built.
fn without_kind(version: &str) -> &str {
    let version = version.strip_suffix(DEBUG).unwrap_or(version);
    version.trim_end_matches(['t', 'd'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_of_each_kind_is_known_by_its_name_and_has_its_version() {
        for (name, is, of) in [
            ("python", true, None),
            ("python3", true, None),
            ("python3.11", true, Some((3, 11))),
            ("python3.14t", true, Some((3, 14))),
            ("python3.13d", true, Some((3, 13))),
            ("python3.14td", true, Some((3, 14))),
            ("python3.11-dbg", true, Some((3, 11))),
            ("python3-dbg", true, None),
            ("platform-python3.6", true, Some((3, 6))),
            ("platform-python", true, None),
            ("pypy", true, None),
            ("pypy3.10", true, None),
            ("pypyroute", false, None),
            ("pypy3-config", false, None),
            ("python3.11-dbg-config", false, None),
            ("python-config", false, None),
            ("python3.11-config", false, None),
            ("pythond", false, None),
            ("uwsgi", false, None),
        ] {
            assert_eq!((is_python(name), version(name)), (is, of), "{name}");
        }
    }
}

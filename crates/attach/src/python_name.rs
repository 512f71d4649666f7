//! What the executable file of a Python is called.

/// Whether this is the name of a Python's file: `python3.11`, `python3.14t` (without the lock of threads),
/// `python3.13d` (built to be debugged itself), `pypy3`.
pub(crate) fn is_python(name: &str) -> bool {
    let is_version = |version: &str| {
        !version.is_empty() && version.chars().all(|c| c.is_ascii_digit() || c == '.')
    };
    let of_cpython = |rest: &str| rest.is_empty() || is_version(without_kind(rest));
    name.starts_with("pypy") || name.strip_prefix("python").is_some_and(of_cpython)
}

/// The version of CPython that is in the name of its file.
pub(crate) fn version(name: &str) -> Option<(u32, u32)> {
    let version = without_kind(name.strip_prefix("python")?);
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A version without the letters for how it was built.
fn without_kind(version: &str) -> &str {
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
            ("pypy3.10", true, None),
            ("python-config", false, None),
            ("python3.11-config", false, None),
            ("pythond", false, None),
            ("uwsgi", false, None),
        ] {
            assert_eq!((is_python(name), version(name)), (is, of), "{name}");
        }
    }
}

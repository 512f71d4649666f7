//! Which names Windows takes for something else than a file of that name.

/// Whether a name is that of a file and nothing else: no device, nothing that Windows shortens to another name, and no
/// character that it keeps for itself.
pub(super) fn is_sound(name: &str) -> bool {
    let has_forbidden = name
        .chars()
        .any(|c| c.is_control() || "<>:\"/\\|?*".contains(c));
    // `app.py.` and `app.py ` are `app.py` to it, and `.git.` is `.git`.
    !has_forbidden && !name.ends_with(['.', ' ']) && !is_device(name)
}

/// `NUL`, `com1.txt` and the like are devices in every directory.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end();
    let stem = stem.to_uppercase();
    let numbered = |of: &str| {
        let number = stem.strip_prefix(of);
        number.is_some_and(|n| {
            matches!(
                n,
                "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³"
            )
        })
    };
    let is_one = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"].contains(&stem.as_str());
    is_one || numbered("COM") || numbered("LPT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_another_or_none_to_windows_are_not_sound() {
        for name in [
            "app.py",
            "console.py",
            "com10",
            "a b.py",
            ".gitignore",
            "übung~1.py",
        ] {
            assert!(is_sound(name), "{name:?}");
        }
        for name in [
            "NUL", "nul.py", "aux", "Com1.log", "lpt²", "con .txt", "app.py.", ".git ", "a:b",
            "a|b", "a\tb",
        ] {
            assert!(!is_sound(name), "{name:?}");
        }
    }
}

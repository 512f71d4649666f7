//! What Linux keeps of a file besides its mode: access lists, labels, and what programs have noted. A file that is put
//! in the place of another takes it over.

use std::{fs::File, io};

/// Gives a file the extended attributes of another one, the access list among them, and takes from it what that has
/// not. Not those that are of the content: what a program was granted, and what is signed. Elsewhere than on Linux
/// nothing is done.
///
/// # Errors
/// If one cannot be read or set.
#[cfg(not(target_os = "linux"))]
pub fn copy_extended_attributes(_from: &File, _to: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
pub use linux::copy_extended_attributes;

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        collections::BTreeMap,
        ffi::{CStr, CString},
    };

    use rustix::{
        fs::{XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr},
        io::Errno,
    };

    use super::{File, io};

    /// The most bytes of names, and of a value, that there are.
    const MOST: usize = 64 << 10;

    /// Those that are not for another content.
    const OF_CONTENT: [&str; 3] = ["security.capability", "security.ima", "security.evm"];

    /// See above.
    #[expect(clippy::missing_errors_doc, reason = "it stands above")]
    pub fn copy_extended_attributes(from: &File, to: &File) -> io::Result<()> {
        let (wanted, own) = (all_of(from)?, all_of(to)?);
        for name in own.keys().filter(|name| !wanted.contains_key(*name)) {
            fremovexattr(to, name)?;
        }
        // What it has already, a label say, it may not be allowed to set.
        let is_missing = |(name, value): &(&CString, &Vec<u8>)| own.get(*name) != Some(*value);
        for (name, value) in wanted.iter().filter(is_missing) {
            fsetxattr(to, name, value, XattrFlags::empty())?;
        }
        Ok(())
    }

    /// None where the file system has none.
    fn all_of(file: &File) -> Result<BTreeMap<CString, Vec<u8>>, Errno> {
        let mut names = vec![0; MOST];
        let length = match flistxattr(file, &mut names[..]) {
            Err(Errno::OPNOTSUPP) => 0,
            listed => listed?,
        };
        let names = names[..length].split_inclusive(|byte| *byte == 0);
        let mut all = BTreeMap::new();
        for name in names.filter_map(|name| CStr::from_bytes_with_nul(name).ok()) {
            let is_of_content = |other: &str| name.to_bytes() == other.as_bytes();
            if OF_CONTENT.iter().any(|other| is_of_content(other)) {
                continue;
            }
            let mut value = vec![0; MOST];
            let length = fgetxattr(file, name, &mut value[..])?;
            value.truncate(length);
            all.insert(name.to_owned(), value);
        }
        Ok(all)
    }
}

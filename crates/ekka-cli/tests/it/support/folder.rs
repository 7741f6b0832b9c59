//! Data folders, copied as an operator would.

use std::fs;
use std::path::Path;

/// Copies files and folders, not sockets.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the target can be made");
    for entry in fs::read_dir(from).expect("the source is there") {
        let entry = entry.expect("an entry of an open folder");
        let target = to.join(entry.file_name());
        let kind = entry.file_type().expect("its kind is known");
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), target).expect("a file can be copied");
        }
    }
}

/// Puts a copy in the place of what is there.
pub(crate) fn restore(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).expect("the folder can be removed");
    }
    copy(from, to);
}

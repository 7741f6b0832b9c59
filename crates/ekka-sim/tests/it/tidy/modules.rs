//! Every file of tests is part of a binary: one that no other file declares is silently not compiled.

use super::source::{Tree, code};

/// Complaints about files of tests that nothing declares.
pub(crate) fn undeclared(tree: &Tree) -> Vec<String> {
    let in_binary = |path: &&str| path.contains("/tests/it/") && !path.ends_with("/it/main.rs");
    let files = tree.rust().map(|(path, _)| path).filter(in_binary);
    files
        .filter(|path| !is_declared(tree, path))
        .map(|path| format!("{path}: declare it in the file above it"))
        .collect()
}

fn is_declared(tree: &Tree, path: &str) -> bool {
    let module = path.trim_end_matches(".rs").trim_end_matches("/mod");
    let Some((folder, name)) = module.rsplit_once('/') else { return false };
    let above = [format!("{folder}/main.rs"), format!("{folder}/mod.rs"), format!("{folder}.rs")];
    above.iter().filter_map(|file| tree.text(file)).any(|text| {
        let text = code(text);
        text.lines().any(|line| line.trim_end().ends_with(&format!("mod {name};")))
    })
}

#[test]
fn a_file_that_nothing_declares_is_found() {
    let tree = Tree::of(&[
        ("crates/a/tests/it/main.rs", "mod one;\n#[cfg(feature = \"x\")]\nmod folder;\n// mod two;\n"),
        ("crates/a/tests/it/one.rs", "mod inner;\n"),
        ("crates/a/tests/it/one/inner.rs", ""),
        ("crates/a/tests/it/two.rs", ""),
        ("crates/a/tests/it/folder/mod.rs", "pub(crate) mod three;\n"),
        ("crates/a/tests/it/folder/three.rs", ""),
        ("crates/a/tests/it/folder/four.rs", ""),
    ]);
    let complaints = undeclared(&tree);
    let found: Vec<&str> = complaints.iter().filter_map(|text| text.split(':').next()).collect();
    assert_eq!(found, ["crates/a/tests/it/folder/four.rs", "crates/a/tests/it/two.rs"]);
}

//! What cargo knows about the workspace and everything that it is built from.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command::{cargo, shown};

/// `cargo metadata` of the locked set, all features on.
pub(crate) fn read() -> Result<Value> {
    let mut command = cargo(["metadata", "--format-version", "1", "--locked", "--all-features"]);
    let line = shown(&command);
    let output = command.output().with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("`{line}` printed no JSON"))
}

/// All packages, those of the workspace included.
pub(crate) fn packages(metadata: &Value) -> &[Value] {
    metadata["packages"].as_array().map_or(&[], Vec::as_slice)
}

/// The features that one can switch on in a package, without `default` and without names of optional dependencies.
pub(crate) fn features_of(metadata: &Value, package: &str) -> Vec<String> {
    packages(metadata)
        .iter()
        .filter(|p| p["name"] == package && p["source"].is_null())
        .filter_map(|p| p["features"].as_object())
        .flat_map(|features| features.keys().filter(|name| *name != "default").cloned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn features_are_those_of_the_workspace_member() {
        let metadata = json!({"packages": [
            {"name": "ekka", "source": null, "features": {"default": ["dns"], "dns": [], "admin": []}},
            {"name": "ekka", "source": "registry", "features": {"foreign": []}},
        ]});
        let mut features = features_of(&metadata, "ekka");
        features.sort();
        assert_eq!(features, ["admin", "dns"]);
    }
}

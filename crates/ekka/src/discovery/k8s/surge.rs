//! How many pods an update of a Deployment makes beside its replicas: they count among those of whom a majority must vote.
//! (Documented API of Kubernetes: Deployment, "Max Surge".)

use super::objects::{Amount, WorkloadSpec};

/// The default of `maxSurge`, in percent.
const DEFAULT_PERCENT: u64 = 25;

/// The pods beside so many replicas; a part of one counts as one, as Kubernetes has it.
///
/// # Errors
/// `maxSurge` is neither a number nor a percentage: its text.
pub(super) fn surge(replicas: u32, spec: &WorkloadSpec) -> Result<u32, String> {
    if spec.strategy.kind == "Recreate" {
        return Ok(0);
    }
    let percent = match &spec.strategy.rolling_update.max_surge {
        Some(Amount::Pods(pods)) => return Ok(*pods),
        Some(Amount::Text(text)) => {
            let percent = text.strip_suffix('%').and_then(|number| number.parse::<u32>().ok());
            u64::from(percent.ok_or_else(|| text.clone())?)
        }
        None => DEFAULT_PERCENT,
    };
    Ok(u32::try_from((u64::from(replicas) * percent).div_ceil(100)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::k8s::objects::Workload;

    #[test]
    fn the_surge_is_that_of_the_strategy() {
        for (strategy, surges) in [
            ("null", [Some(1), Some(1), Some(2)]),
            (r#"{"type": "RollingUpdate"}"#, [Some(1), Some(1), Some(2)]),
            (r#"{"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "50%"}}"#, [Some(1), Some(2), Some(3)]),
            (r#"{"rollingUpdate": {"maxSurge": "200%"}}"#, [Some(2), Some(6), Some(10)]),
            (r#"{"rollingUpdate": {"maxSurge": "0%", "maxUnavailable": 1}}"#, [Some(0); 3]),
            (r#"{"rollingUpdate": {"maxSurge": 2}}"#, [Some(2); 3]),
            (r#"{"type": "Recreate", "rollingUpdate": null}"#, [Some(0); 3]),
            (r#"{"rollingUpdate": {"maxSurge": "some"}}"#, [None; 3]),
            (r#"{"rollingUpdate": {"maxSurge": "-1%"}}"#, [None; 3]),
        ] {
            let json = format!(r#"{{"spec": {{"replicas": 3, "strategy": {strategy}}}}}"#);
            let deployment: Workload = serde_json::from_str(&json).expect(&json);
            let told = [1, 3, 5].map(|replicas| surge(replicas, &deployment.spec).ok());
            assert_eq!(told, surges, "{strategy}");
        }
    }
}

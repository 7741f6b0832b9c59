//! The configuration as the command line asks for it.

use ekka::config::{ConfigErrors, Loaded, Sources};

use crate::args::ConfigArgs;
use crate::exit::Failure;

/// The sources that the options name: file, environment, `--set`, `--name`.
pub(crate) fn sources(args: &ConfigArgs) -> Sources {
    Sources {
        files: args.file.iter().cloned().collect(),
        set: args.set.clone(),
        name: args.name.clone(),
        ..Sources::from_env()
    }
}

/// Reads and checks the configuration.
pub(crate) fn load(args: &ConfigArgs) -> Result<Loaded, Failure> {
    ekka::config::load(&sources(args)).map_err(|errors| refused(&errors))
}

fn refused(errors: &ConfigErrors) -> Failure {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    match lines.as_slice() {
        [line] => Failure::new(crate::Code::Usage, "configuration", line),
        lines => {
            let text = format!("{} mistakes in the configuration:\n  {}", lines.len(), lines.join("\n  "));
            Failure::new(crate::Code::Usage, "configuration", text)
        }
    }
}

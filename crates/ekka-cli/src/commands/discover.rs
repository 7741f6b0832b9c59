use crate::args::ConfigArgs;
pub(super) async fn run(_a: &ConfigArgs, _json: bool) -> Result<(), crate::exit::Failure> {
    Ok(())
}

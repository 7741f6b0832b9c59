pub(crate) fn run(_json: bool) -> Result<(), crate::exit::Failure> {
    Ok(())
}

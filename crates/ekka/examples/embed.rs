//! A node in twenty lines: `cargo run --example embed -- ekka1@127.0.0.1 ekka2@127.0.0.1` and, in a second terminal,
//! `cargo run --example embed -- ekka2@127.0.0.1 ekka1@127.0.0.1`.

use std::time::Duration;

use ekka::config::ConfigBuilder;
use ekka::env::Env;
use ekka::node::{StartOptions, start};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let own = names.first().ok_or("give this node's name, then the names of the others")?;
    let config = ConfigBuilder::new().name(own).discovery("static").seeds(&names).build()?;
    let env = Env::real(&config.node.data_dir)?;
    let node = start(config, env, StartOptions::default()).await?;
    node.ready(Duration::from_secs(60)).await?; // the error says what it waits for
    println!("{} is in cluster {:?}", node.view().name, node.view().cluster_id);
    let mut views = node.view_changes();
    while views.changed().await.is_ok() {
        for member in &views.borrow_and_update().members {
            println!("{} is {}", member.name, member.status.as_str());
        }
    }
    Ok(())
}

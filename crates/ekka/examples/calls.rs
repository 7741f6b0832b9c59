//! Calls between two nodes: `cargo run --example calls -- ekka1@127.0.0.1 ekka2@127.0.0.1` and, in a second terminal,
//! `cargo run --example calls -- ekka2@127.0.0.1 ekka1@127.0.0.1`.

use std::time::Duration;

use ekka::config::ConfigBuilder;
use ekka::env::Env;
use ekka::node::{StartOptions, start};
use ekka::rpc::{Caller, HandlerError, Handlers, Method};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct PriceRequest {
    item: String,
    count: u32,
}

const PRICE: Method<PriceRequest, u32> = Method::new("shop.price");

async fn price(caller: Caller, request: PriceRequest) -> Result<u32, HandlerError> {
    println!("{} asks for {} of {}", caller.name(), request.count, request.item);
    if request.item != "bolt" {
        return Err(HandlerError::new(format!("no {} here", request.item)));
    }
    Ok(request.count * 7)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let own = names.first().ok_or("give this node's name, then the names of the others")?;
    let config = ConfigBuilder::new().name(own).discovery("static").seeds(&names).build()?;
    let env = Env::real(&config.node.data_dir)?;
    let options = StartOptions { handlers: Handlers::new().serve(&PRICE, price), ..StartOptions::default() };
    let node = start(config, env, options).await?;
    node.ready(Duration::from_secs(60)).await?;
    loop {
        let view = node.view();
        for member in view.members.iter().filter(|member| member.id.node_id != view.me.node_id) {
            let request = PriceRequest { item: "bolt".into(), count: 6 };
            match node.call(member.id.node_id, &PRICE, &request).deadline(Duration::from_secs(1)).await {
                Ok(price) => println!("{} says {price}", member.name),
                Err(error) if error.outcome_unknown() => println!("{} may have been asked: {error}", member.name),
                Err(error) => println!("{} was not asked: {error}", member.name),
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

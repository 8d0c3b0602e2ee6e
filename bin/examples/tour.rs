//! The Rust part of README's tour: reads what another client has stored, over any protocol.

use isogrid_wire::client::{Client, Error, Options};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7400".to_owned());
    let client = Client::connect([server], Options::default()).await?;
    let cache = client.cache("default").must_exist().open().await?;
    match cache.get(b"greeting").await? {
        Some(entry) => println!("{}", String::from_utf8_lossy(&entry.value)),
        None => println!("nobody has stored a greeting, or it has expired"),
    }
    Ok(())
}

//! axum with its sessions in Isogrid. PORT and SERVERS are in the environment.
//!
//! ```sh
//! isogrid dev &
//! PORT=8000 SERVERS=127.0.0.1:7400 cargo run -p isogrid-tower-sessions --example axum_app
//! curl -c jar -b jar http://127.0.0.1:8000/login; curl -c jar -b jar http://127.0.0.1:8000/count
//! ```

use std::collections::BTreeMap;
use std::path::Path as File;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use isogrid_tower_sessions::{GridStore, WholeSessions};
use serde_json::{Map, Value};
use tower_sessions::{Session, SessionManagerLayer};

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let url = format!("isogrid://{}", std::env::var("SERVERS")?).parse()?;
    let store = GridStore::new(WholeSessions::new(url, "axum").owner("user"));
    let sessions = SessionManagerLayer::new(store.clone()).with_secure(false);
    let app = Router::new().route("/{what}", get(view)).layer(sessions).with_state(store);
    let address = format!("127.0.0.1:{}", std::env::var("PORT")?);
    Ok(axum::serve(tokio::net::TcpListener::bind(address).await?, app).await?)
}

async fn view(
    State(store): State<GridStore>,
    Path(what): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
    session: Session,
) -> impl IntoResponse {
    match answer(&store, &what, &query, &session).await {
        Ok(Some(session)) => (StatusCode::OK, Value::Object(session).to_string()),
        Ok(None) => (StatusCode::NOT_FOUND, String::new()),
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, why.to_string()),
    }
}

async fn answer(
    store: &GridStore,
    what: &str,
    query: &BTreeMap<String, String>,
    session: &Session,
) -> Result<Option<Map<String, Value>>, Failure> {
    session.get_value("user").await?; // Sessions are loaded when they are first read.
    hold(query.get("hold")).await?;
    match what {
        "login" => {
            session.cycle_id().await?;
            session.insert("user", "ann").await?;
        }
        "put" => session.insert(query.get("name").ok_or("put what?")?, 1).await?,
        "count" => {
            session.insert("n", session.get::<u64>("n").await?.unwrap_or(0) + 1).await?;
        }
        "logout" => session.flush().await?,
        "everywhere" => {
            store.log_out_everywhere("ann", session.id().as_ref()).await?;
        }
        "show" => {}
        _ => return Ok(None),
    }
    let mut shown = Map::new();
    let names = ('a'..='z').map(String::from).chain(["user".to_owned()]);
    for name in names {
        if let Some(value) = session.get_value(&name).await? {
            shown.insert(name, value);
        }
    }
    Ok(Some(shown))
}

/// Stays until the file that it makes is gone: another request goes on meanwhile.
async fn hold(file: Option<&String>) -> std::io::Result<()> {
    let Some(file) = file.map(File::new) else { return Ok(()) };
    std::fs::write(file, "")?;
    while file.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

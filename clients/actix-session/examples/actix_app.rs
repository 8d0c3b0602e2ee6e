//! Actix Web with its sessions in Isogrid. PORT and SERVERS are in the environment.
//!
//! ```sh
//! isogrid dev &
//! PORT=8000 SERVERS=127.0.0.1:7400 cargo run -p isogrid-actix-session --example actix_app
//! curl -c jar -b jar http://127.0.0.1:8000/login; curl -c jar -b jar http://127.0.0.1:8000/count
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use actix_session::{Session, SessionMiddleware};
use actix_web::cookie::Key;
use actix_web::error::{ErrorInternalServerError, ErrorNotFound};
use actix_web::{App, HttpServer, get, web};
use isogrid_actix_session::{GridStore, WholeSessions};

type Named<V> = BTreeMap<String, V>;

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = format!("isogrid://{}", std::env::var("SERVERS")?).parse()?;
    let store = GridStore::new(WholeSessions::new(url, "actix").owner("user"));
    let port = std::env::var("PORT")?.parse()?;
    let server = HttpServer::new(move || {
        // Of an example: a real one is secret, and the same in all processes.
        let key = Key::from(&[7; 64]);
        let sessions = SessionMiddleware::builder(store.clone(), key).cookie_secure(false).build();
        App::new().app_data(web::Data::new(store.clone())).service(view).wrap(sessions)
    });
    Ok(server.workers(2).bind(("127.0.0.1", port))?.run().await?)
}

#[get("/{what}")]
async fn view(
    store: web::Data<GridStore>,
    what: web::Path<String>,
    query: web::Query<Named<String>>,
    session: Session,
) -> actix_web::Result<web::Json<Named<serde_json::Value>>> {
    // The session is loaded before the view is called.
    hold(query.get("hold")).await?;
    match what.as_str() {
        "login" => {
            session.renew();
            session.insert("user", "ann")?;
        }
        "put" => session.insert(query.get("name").map_or("", String::as_str), 1)?,
        "count" => session.insert("n", session.get::<u64>("n")?.unwrap_or(0) + 1)?,
        "logout" => session.purge(),
        "everywhere" => {
            store.log_out_everywhere("ann", None).await.map_err(ErrorInternalServerError)?;
            session.renew();
        }
        "show" => {}
        _ => return Err(ErrorNotFound("")),
    }
    let entries = session.entries();
    let shown = entries.iter().filter(|(name, _)| !name.starts_with("isogrid."));
    let shown = shown.map(|(name, value)| Ok((name.clone(), serde_json::from_str(value)?)));
    Ok(web::Json(shown.collect::<serde_json::Result<_>>()?))
}

/// Stays until the file that it makes is gone: another request goes on meanwhile.
async fn hold(file: Option<&String>) -> std::io::Result<()> {
    let Some(file) = file.map(Path::new) else { return Ok(()) };
    std::fs::write(file, "")?;
    while file.exists() {
        actix_web::rt::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

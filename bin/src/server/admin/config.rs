//! Methods about the configuration.

use serde_json::{Value, json};

use super::{Fault, Invocation, blocking};
use crate::config;
use crate::server::node::Node;
use crate::server::reload;

/// Every value in force at the start, and where it was said.
pub fn show(node: &Node) -> Value {
    let value = |value: config::Value| json!({ "key": value.key, "value": value.value, "origin": value.origin });
    let values = config::values(&node.config, &node.origins);
    json!({ "values": values.into_iter().map(value).collect::<Vec<_>>() })
}

/// Says which log lines are written, after setting it when asked.
///
/// # Errors
/// When the filter is none.
pub fn log_level(call: &Invocation) -> Result<Value, Fault> {
    let (node, level) = (&call.node, call.text("level"));
    if let Some(level) = level {
        node.log.set(level).map_err(|why| Fault::Invalid(format!("`{level}`: {why}")))?;
        tracing::info!(event = "log_level", level, "set by an operator");
    }
    let level = node.log.changed().unwrap_or_else(|| node.config.log.level.clone());
    Ok(json!({ "level": level }))
}

/// Reads again what may change while the server runs; what came of each.
///
/// # Errors
/// Never: what cannot be read is told, and the old one holds.
pub async fn reload(call: Invocation) -> Result<Value, Fault> {
    blocking(move || {
        let read = reload::everything(&call.node).into_iter();
        let read = read.map(|(name, read)| match read {
            Ok(()) => (name.to_owned(), json!("loaded")),
            Err(why) => (name.to_owned(), json!(format!("not loaded, the old one holds: {why}"))),
        });
        Ok(Value::Object(read.collect()))
    })
    .await
}

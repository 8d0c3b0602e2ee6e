//! Nodes that are started at the same time found one cluster.

use std::time::{Duration, Instant};

use super::client::Client;
use super::nodes::{Cluster, SERVES_WITHIN, Setup};
use crate::checker::{Ask, Told};

/// Starts a new cluster so many times. Says how long each took until all nodes served, ms.
///
/// # Errors
/// When the nodes do not serve in time, or are not one cluster.
pub fn starts(setup: Setup, times: usize) -> Result<Vec<u64>, String> {
    (0..times).map(|_| start(setup)).collect()
}

fn start(setup: Setup) -> Result<u64, String> {
    let begin = Instant::now();
    let mut cluster = Cluster::begin(setup);
    let checked = cluster.wait_served().and_then(|()| {
        let took = begin.elapsed().as_millis() as u64;
        one_cluster(&cluster)?;
        Ok(took)
    });
    if checked.is_err() {
        cluster.keep_folder();
    }
    checked
}

/// What is written at each node is read at each.
fn one_cluster(cluster: &Cluster) -> Result<(), String> {
    let client = |node: usize| Client::new(cluster.clients()[node], SERVES_WITHIN);
    for (writer, reader) in pairs(cluster.len()) {
        let (key, value) = (format!("at{writer}-{reader}"), 1 + (writer * 10 + reader) as u64);
        let written = client(writer).perform(&key, Ask::Put(value), false);
        let read = client(reader).perform(&key, Ask::Get, false);
        let is_there = matches!(read, Told::Read(Some((is, _))) if is == value);
        if !matches!(written, Told::Done(_)) || !is_there {
            return Err(format!(
                "written at node {writer} ({written:?}), read at {reader}: {read:?}"
            ));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn pairs(nodes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..nodes).flat_map(move |writer| (0..nodes).map(move |reader| (writer, reader)))
}

//! Names that are looked up: one may stand for all nodes, and for others than a moment ago, as that of
//! a headless service of Kubernetes does.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;

/// Addresses that the names may stand for, at the most.
const ADDRESSES_MAX: usize = 256;

/// What is known of names.
#[derive(Debug, Default)]
pub struct Names {
    /// Those of which it was said that they stand for nothing.
    told: BTreeSet<String>,
}

impl Names {
    /// All addresses that these names, and addresses, each with its port, stand for now; a name that
    /// cannot be looked up stands for none.
    pub async fn look_up(
        &mut self,
        all: &BTreeSet<String>,
        resolve: impl AsyncFn(&str) -> io::Result<Vec<SocketAddr>>,
    ) -> Vec<String> {
        let mut found = BTreeSet::new();
        self.told.retain(|name| all.contains(name));
        for name in all {
            if name.parse::<SocketAddr>().is_ok() {
                found.insert(name.clone());
                continue;
            }
            match resolve(name).await {
                Ok(addresses) => {
                    self.told.remove(name);
                    found.extend(addresses.iter().map(SocketAddr::to_string));
                }
                Err(error) => {
                    if self.told.insert(name.clone()) {
                        tracing::warn!(event = "seed_not_found", name, %error, "looked up again");
                    }
                }
            }
        }
        found.into_iter().take(ADDRESSES_MAX).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// What names stand for, look after look, and who is greeted then.
    #[tokio::test]
    async fn a_name_stands_for_all_its_addresses_of_the_moment() {
        let all = ["10.0.0.9:7401", "grid:7401", "[::1]:1"].map(str::to_owned).into();
        let mut names = Names::default();
        let table: [(&[&str], &[&str]); 4] = [
            (&[], &["10.0.0.9:7401", "[::1]:1"]),
            (&["10.0.0.1:7401"], &["10.0.0.1:7401", "10.0.0.9:7401", "[::1]:1"]),
            (
                &["10.0.0.2:7401", "10.0.0.3:7401", "10.0.0.9:7401"],
                &["10.0.0.2:7401", "10.0.0.3:7401", "10.0.0.9:7401", "[::1]:1"],
            ),
            (&[], &["10.0.0.9:7401", "[::1]:1"]),
        ];
        for (known, expected) in table {
            let zone = BTreeMap::from([("grid:7401", known)]);
            let found = names.look_up(&all, async |name| {
                let all = zone.get(name).filter(|all| !all.is_empty());
                let all = all.ok_or_else(|| io::Error::other("no such name"))?;
                Ok(all.iter().map(|one| one.parse().unwrap()).collect())
            });
            assert_eq!(found.await, expected, "{known:?}");
        }
    }

    #[tokio::test]
    async fn a_name_that_stands_for_the_whole_world_does_not_fill_memory() {
        let all = BTreeSet::from(["world:1".to_owned()]);
        let world = async |_: &str| {
            let address = |n: u32| SocketAddr::from((std::net::Ipv4Addr::from(n), 1));
            Ok((0..10_000).map(address).collect())
        };
        assert_eq!(Names::default().look_up(&all, world).await.len(), ADDRESSES_MAX);
    }
}

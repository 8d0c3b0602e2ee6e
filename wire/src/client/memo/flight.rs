//! Who computes what within this process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use tokio::sync::watch;
use tokio::time::error::Elapsed;

type Value = Arc<[u8]>;
type Landings = HashMap<Vec<u8>, watch::Receiver<Option<Value>>, std::hash::RandomState>;

/// What is being computed now. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Flights(Arc<Mutex<Landings>>);

/// The part of a caller.
#[derive(Debug)]
pub enum Seat {
    /// It computes.
    Pilot(Flight),
    /// It waits for the one that computes.
    Passenger(Passenger),
}

/// One computation. Dropped before it has landed it wakes those who wait, and one of them begins.
#[derive(Debug)]
pub struct Flight {
    flights: Flights,
    key: Vec<u8>,
    landing: watch::Sender<Option<Value>>,
}

/// Somebody who waits.
#[derive(Debug)]
pub struct Passenger(watch::Receiver<Option<Value>>);

impl Flights {
    /// Joins the computation of a key, or begins it.
    pub fn board(&self, key: &[u8]) -> Seat {
        let mut landings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(landing) = landings.get(key) {
            return Seat::Passenger(Passenger(landing.clone()));
        }
        let (landing, wait) = watch::channel(None);
        landings.insert(key.to_vec(), wait);
        Seat::Pilot(Flight { flights: self.clone(), key: key.to_vec(), landing })
    }
}

impl Flight {
    /// Hands the result to all who wait.
    pub fn landed(self, value: &Value) {
        self.landing.send_replace(Some(Arc::clone(value)));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut landings = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        landings.remove(&self.key);
    }
}

impl Passenger {
    /// The result; `None`: there is none, because whoever computed it failed.
    ///
    /// # Errors
    ///
    /// It takes too long.
    pub async fn land(mut self, patience: Duration) -> Result<Option<Value>, Elapsed> {
        let landed = tokio::time::timeout(patience, self.0.wait_for(Option::is_some)).await?;
        Ok(landed.ok().and_then(|value| value.clone()))
    }
}

//! Even and odd: two `isogrid queue consume` at two nodes.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use isogrid_tests::harness::isogrid;
use isogrid_wire::client::Queue;
use isogrid_wire::client::queue::Message;

use super::dev::{Dev, until};
use super::{counts, queue, stat, three};

/// A consumer, and the numbers that it has printed; killed when dropped.
struct Printer {
    child: Child,
    printed: Arc<Mutex<Vec<usize>>>,
}

impl Printer {
    fn start(dev: &Dev, node: usize) -> Printer {
        let mut command = Command::new(isogrid());
        command.args(["queue", "consume", "numbers"]).env_clear().stdin(Stdio::null());
        command.env("ISOGRID_SERVER", dev.native_address(node)).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (out, printed) = (child.stdout.take().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let all = Arc::clone(&printed);
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                all.lock().unwrap().push(line.parse().unwrap());
            }
        });
        Printer { child, printed }
    }

    fn take(&self) -> Vec<usize> {
        std::mem::take(&mut self.printed.lock().unwrap())
    }

    fn has(&self, count: usize) -> bool {
        self.printed.lock().unwrap().len() >= count
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Publishes these numbers, each when all consumers wait.
async fn publish(queue: &Queue, numbers: std::ops::Range<usize>, consumers: u64) {
    for number in numbers {
        for state in ["ready", "in_flight"] {
            counts(queue, state, 0).await;
        }
        counts(queue, "waiting", consumers).await;
        queue.publish(&Message::new(number.to_string())).await.unwrap();
    }
}

fn every_other(printed: &[usize], of: usize) -> bool {
    printed.len() == of && printed.windows(2).all(|two| two[1] == two[0] + 2)
}

/// Each prints every other number; when one is killed the other one prints all; one that comes back
/// prints every other number again.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_print_even_and_odd_numbers() {
    let dev = three();
    let numbers = queue(&dev, 2, "numbers").await;
    let (even, odd) = (Printer::start(&dev, 0), Printer::start(&dev, 1));
    publish(&numbers, 0..20, 2).await;
    until("all are printed", || even.has(10) && odd.has(10));
    let (one, other) = (even.take(), odd.take());
    assert!(every_other(&one, 10) && every_other(&other, 10), "{one:?} {other:?}");
    drop(even);
    publish(&numbers, 20..30, 1).await;
    until("all are printed", || odd.has(10));
    assert_eq!(odd.take(), (20..30).collect::<Vec<_>>());
    let back = Printer::start(&dev, 0);
    publish(&numbers, 30..50, 2).await;
    until("all are printed", || back.has(10) && odd.has(10));
    let (one, other) = (back.take(), odd.take());
    assert!(every_other(&one, 10) && every_other(&other, 10), "{one:?} {other:?}");
    assert_eq!(stat(&numbers, "redelivered").await, 0);
}

//! Consumers on several nodes.

use isogrid_tests::queues::{leaves, shares};
use serde_json::json;

use super::{client, nodes_of, queue, three};

#[tokio::test]
async fn consumers_on_two_nodes_share() {
    let dev = three();
    let [primary, second, third] = nodes_of(&dev, "shared");
    for nodes in [[primary, second], [second, third]] {
        let at = queue(&dev, primary, "shared").await;
        let [even, odd] = nodes.map(|node| queue(&dev, node, "shared"));
        shares(&at, [&even.await, &odd.await], 3).await;
    }
}

#[tokio::test]
async fn a_consumer_that_goes_leaves_what_it_has_to_others() {
    let dev = three();
    let nodes = nodes_of(&dev, "left");
    // Longer than anybody waits here.
    let at = client(&dev, nodes[0]).await;
    let at = at.queue_with("left", &json!({"visible": "1h"})).await.unwrap();
    for node in nodes {
        leaves(&at, queue(&dev, node, "left").await, queue(&dev, node, "left").await).await;
    }
}

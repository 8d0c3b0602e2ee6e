//! A server that ends with whoever started it.

use tokio::sync::oneshot;

/// Returns when stdin ends, if that is `wanted`; else never.
pub async fn stdin_ends(wanted: bool) {
    if !wanted {
        return std::future::pending().await;
    }
    let (sender, ended) = oneshot::channel::<()>();
    // A thread that nobody waits for: a read of the runtime's would hold up its end.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(sender);
    });
    let _ = ended.await;
}

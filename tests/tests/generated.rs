//! What is generated from the declarations is what is checked in.

use isogrid_tests::protocol::drifted;

#[test]
fn documents_and_vectors_are_what_the_declarations_say() {
    let drifted = drifted();
    let again = "cargo run -p isogrid-tests --bin protocol writes them anew";
    assert!(drifted.is_empty(), "{again}: {drifted:?}");
}

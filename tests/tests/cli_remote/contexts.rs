//! `isogrid context`.

use std::fs;

use isogrid_tests::harness::temporary;
use serde_json::json;

use crate::{Place, run};

#[test]
fn servers_are_noted_chosen_and_forgotten() {
    let (here, there) = (Place::new(), Place::new());
    assert_eq!(there.said("cache create only-there").code, Some(0));
    let folder = temporary("contexts");
    let settings = ("XDG_CONFIG_HOME", folder.to_str().unwrap());
    let holds = |words: &str, code: i32, out: &str, error: &str| {
        let words = words.replace("HERE", &here.address).replace("THERE", &there.address);
        let said = run(&words.split(' ').collect::<Vec<_>>(), &[settings], b"");
        assert_eq!((said.code, said.out.as_str()), (Some(code), out), "{words}: {said:?}");
        assert!(said.error.contains(error), "{words}: {said:?}");
        assert_eq!(said.error.is_empty(), error.is_empty(), "{words}: {said:?}");
    };
    let found = "cache keys only-there";
    holds(
        "context add prod --server AT-THERE".replace("AT-THERE", &there.address).as_str(),
        0,
        "",
        "",
    );
    holds("context add test --server HERE", 0, "", "");
    holds("context use tes", 3, "", "did you mean \"test\"?");
    holds("context use prod", 0, "", "");
    holds(found, 0, "", "");
    holds(&format!("{found} --context test"), 3, "", "there is no cache \"only-there\"");
    holds(&format!("{found} --server HERE"), 3, "", "there is no cache");
    holds(&format!("{found} --context none"), 3, "", "`isogrid context add none --server");
    let told = run(&["context", "ls", "-o", "json"], &[settings], b"").json();
    assert_eq!(told["use"], json!("prod"));
    assert_eq!(told["contexts"]["test"], json!({ "server": here.address }));
    let listed = run(&["context", "ls"], &[settings], b"").out;
    assert!(listed.contains(&format!("*  prod  {}\n", there.address)), "{listed}");
    for (variable, text, code) in
        [("ISOGRID_CONTEXT", "test", 3), ("ISOGRID_SERVER", here.address.as_str(), 3), ("X", "", 0)]
    {
        let said = run(&["cache", "keys", "only-there"], &[settings, (variable, text)], b"");
        assert_eq!(said.code, Some(code), "{variable}: {said:?}");
    }
    holds("context rm prod", 0, "", "");
    holds("context rm prod", 3, "", "there is no context \"prod\"");
    fs::write(folder.join("isogrid/contexts.toml"), "use = 1").unwrap();
    holds("cache ls", 1, "", "contexts.toml: ");
    fs::remove_dir_all(folder).unwrap();
}

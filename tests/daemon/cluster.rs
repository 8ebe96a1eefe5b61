//! A cluster of two on one machine: what lies on which member, and goes back there.

use std::fs;
use std::net::TcpListener;

use crate::holdall::Holdall;
use crate::lab::{Lab, Pool, Product};

/// An address at which nobody listens.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.local_addr().expect("an address").to_string()
}

/// Two members with a pool of directories that each has for itself.
fn cluster(product: Product) -> Option<[Lab; 2]> {
    let (one, two) = (Lab::open_bare(product)?, Lab::open_bare(product)?);
    let pool = Pool::Dir.name();
    one.preseed(&format!(
        "config: {{core.https_address: \"{}\"}}
storage_pools: [{{name: {pool}, driver: dir}}]
profiles: [{{name: default, devices: {{root: {{type: disk, path: /, pool: {pool}}}}}}}]
cluster: {{enabled: true, server_name: one}}
",
        free_address()
    ));
    let said = one.run(&["cluster", "add", "two", "--quiet"]);
    let token = said.split_whitespace().last().expect("a token");
    two.preseed(&format!(
        "cluster:
  enabled: true
  server_name: two
  server_address: \"{}\"
  cluster_token: {token}
  member_config: [{{entity: storage-pool, name: {pool}, key: source, value: \"\"}}]
",
        free_address()
    ));
    Some([one, two])
}

/// What the volume of that name holds on a member.
fn content(lab: &Lab, volume: &str) -> String {
    let file = lab.pool_dir(Pool::Dir).join("custom").join(format!("default_{volume}")).join("who");
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn what_lies_on_a_member_goes_back_there(product: Product) {
    let Some([one, two]) = cluster(product) else { return };
    let holdall = Holdall::new(&one);
    let pool = Pool::Dir.name();
    for member in ["one", "two"] {
        let instance = format!("c-{member}");
        one.launch_tiny_on(&instance, Pool::Dir, Some(member));
        one.run(&["storage", "volume", "create", pool, "data", "--target", member]);
        one.run(&["storage", "volume", "attach", pool, "data", &instance, "data", "/srv/data"]);
        one.sh(&instance, &format!("echo {member} >/srv/data/who; echo {member} >/srv/who"));
        one.run(&["stop", "--force", &instance]);
    }

    let is_staged = product != Product::Incus7;
    if is_staged {
        // Whether there is room on another machine cannot be seen.
        holdall.fails(&["backup", "--all"], 3, &["//c-two", "cluster member two", "--unchecked-staging"]);
    }
    let mut sources: Vec<String> = holdall
        .objects(&["backup", "--all", "--unchecked-staging"], "made")
        .iter()
        .map(|made| made["source"].as_str().expect("a source").to_owned())
        .filter(|source| !source.contains("image:"))
        .collect();
    sources.sort();
    let expected = ["c-one", "c-two", "volume:one:dir/data", "volume:two:dir/data"];
    assert_eq!(sources, expected.map(|source| format!("one//{source}")));
    let first = &holdall.objects(&["show", "c-two"], "point_details")[0];
    assert_eq!(first["set"].to_string().matches("volume:two:dir/data").count(), 1, "{first}");

    for member in ["one", "two"] {
        one.run(&["delete", &format!("c-{member}")]);
        one.run(&["storage", "volume", "delete", pool, "data", "--target", member]);
    }
    holdall.fails(&["restore", "volume:dir/data"], 8, &["volume:one:dir/data", "volume:two:dir/data"]);
    holdall.succeeds(&["restore", "volume:two:dir/data"]);
    holdall.succeeds(&["restore", "volume:one:dir/data"]);
    assert_eq!((content(&one, "data"), content(&two, "data")), ("one\n".to_owned(), "two\n".to_owned()));
    holdall.succeeds(&["restore", "volume:one:dir/data", "--as", "moved", "--member", "two"]);
    assert_eq!(content(&two, "moved"), "one\n");
    holdall.fails(
        &["restore", "volume:one:dir/data", "--as", "lost", "--member", "three"],
        10,
        &["cluster member three"],
    );

    // An instance is made by the member that takes the upload, and finds its volume there by its name.
    holdall.succeeds(&["restore", "c-two"]);
    assert_eq!(one.get("/1.0/instances/c-two")["location"], "one");
    one.run(&["start", "c-two"]);
    assert_eq!(one.sh("c-two", "cat /srv/who /srv/data/who"), "two\none\n");
    holdall.succeeds(&["check", "--read-data"]);
}

#[test]
fn what_lies_on_a_member_goes_back_there_on_lxd() {
    what_lies_on_a_member_goes_back_there(Product::Lxd);
}

#[test]
fn what_lies_on_a_member_goes_back_there_on_incus_6() {
    what_lies_on_a_member_goes_back_there(Product::Incus6);
}

#[test]
fn what_lies_on_a_member_goes_back_there_on_incus_7() {
    what_lies_on_a_member_goes_back_there(Product::Incus7);
}

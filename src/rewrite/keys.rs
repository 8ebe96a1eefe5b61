//! Which configuration keys a daemon takes: by its own catalogue where it has one, else by what is known of it.
//!
//! Both products and all their versions refuse a whole instance for one key that they do not know
//! (`reference/daemon-api.md` 5.5). Catalogues are not complete, so that no key is left out for being absent from one
//! that every daemon is known to take; what nobody foresaw is learned from the daemon's refusal.

use std::collections::BTreeSet;

use crate::daemon::{Flavor, Server};

/// Keys that begin so are the user's own, and taken by all.
const FREE_PREFIXES: &[&str] = &["user.", "environment.", "image.", "linux.sysctl.", "limits.kernel."];

/// Keys of the daemons themselves that all of them take, whatever their catalogue says.
const COMMON: &[&str] = &[
    "volatile.apply_nvram",
    "volatile.apply_template",
    "volatile.base_image",
    "volatile.cloud-init.instance-id",
    "volatile.evacuate.origin",
    "volatile.idmap.base",
    "volatile.idmap.current",
    "volatile.idmap.next",
    "volatile.last_state.idmap",
    "volatile.last_state.power",
    "volatile.uuid",
    "volatile.vsock_id",
];

/// Keys that an LXD 5.0, which has no catalogue, does not take and Incus may have set. A final dot or dash stands for
/// all that begin so.
const UNKNOWN_TO_OLD_LXD: &[&str] = &[
    "boot.autorestart",
    "boot.host_shutdown_action",
    "initial.",
    "limits.cpu.nodes",
    "limits.memory.hotplug",
    "limits.memory.oom_priority",
    "oci.",
    "raw.qemu.qmp.",
    "raw.qemu.scriptlet",
    "security.bpffs.",
    "security.csm",
    "security.iommu",
    "security.protection.start",
    "security.selinux.",
    "security.syscalls.intercept.sysinfo",
    "security.tags",
    "smbios11.",
    "snapshots.expiry.manual",
    "systemd.credential.",
    "systemd.credential-",
    "volatile.cluster.group",
    "volatile.container.oci",
    "volatile.cpu.nodes",
    "volatile.last_state.agent",
    "volatile.last_state.agent.once",
    "volatile.last_state.ready",
    "volatile.rebalance.last_move",
    "volatile.uuid.generation",
    "volatile.vm.",
];

/// What `volatile.DEVICE` keys end with that an LXD 5.0 does not take.
const UNKNOWN_TO_OLD_LXD_OF_DEVICES: &[&str] = &[
    ".io.bus",
    ".last_state.ip_addresses",
    ".last_state.pci.parent",
    ".last_state.usb.bus",
    ".last_state.usb.device",
    ".last_state.vf.trusted",
];

/// Keys of LXD itself that no Incus takes.
const ONLY_LXD: &[&str] = &["volatile.apply_quota", "volatile.attached_volumes", "volatile.bus.mode"];

/// What the two products call otherwise.
const RENAMED: &[(&str, &str)] =
    &[("security.devlxd", "security.guestapi"), ("security.devlxd.images", "security.guestapi.images")];

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    Keep,
    Rename(&'static str),
    Drop,
}

/// Where an export comes from, as seen from a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The same product in the same version: what it wrote it reads.
    Same,
    /// Anything else, or unknown.
    Foreign,
}

/// The rules of one daemon.
#[derive(Debug, Clone)]
pub(crate) struct KeyRules {
    flavor: Flavor,
    origin: Origin,
    catalogue: Option<BTreeSet<String>>,
    /// What it refused already.
    refused: BTreeSet<String>,
}

impl KeyRules {
    /// The rules for what comes from there. `catalogue` is what the daemon says itself.
    pub(crate) fn new(server: &Server, origin: Origin, catalogue: Option<BTreeSet<String>>) -> Self {
        Self { flavor: server.flavor, origin, catalogue, refused: BTreeSet::new() }
    }

    /// The rules of a daemon of which nothing is known but its product.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn of(flavor: Flavor, origin: Origin) -> Self {
        Self { flavor, origin, catalogue: None, refused: BTreeSet::new() }
    }

    /// Whether the key was not known to be refused.
    pub(crate) fn learn(&mut self, key: &str) -> bool {
        self.refused.insert(key.to_owned())
    }

    pub(crate) fn rule(&self, key: &str) -> Rule {
        if self.refused.contains(key) {
            return Rule::Drop;
        }
        if self.origin == Origin::Same || FREE_PREFIXES.iter().any(|prefix| key.starts_with(prefix)) {
            return Rule::Keep;
        }
        let other_name = RENAMED.iter().find_map(|(lxd, incus)| match self.flavor {
            Flavor::Incus => (*lxd == key).then_some(*incus),
            Flavor::Lxd => (*incus == key).then_some(*lxd),
        });
        if let Some(name) = other_name {
            return if self.refused.contains(name) { Rule::Drop } else { Rule::Rename(name) };
        }
        if self.takes(key) { Rule::Keep } else { Rule::Drop }
    }

    fn takes(&self, key: &str) -> bool {
        let Some(catalogue) = &self.catalogue else {
            return match self.flavor {
                Flavor::Lxd => !is_of_incus(key),
                // Every Incus has a catalogue. One that does not show it says itself what it does not take.
                Flavor::Incus => !ONLY_LXD.contains(&key),
            };
        };
        // Of the keys that daemons set themselves a catalogue does not name all.
        let is_unnamed = || key.starts_with("volatile.") && !is_of_incus(key) && !ONLY_LXD.contains(&key);
        COMMON.contains(&key) || catalogue.iter().any(|pattern| matches(pattern, key)) || is_unnamed()
    }
}

/// Whether Incus may have set a key that an LXD 5.0 does not take.
fn is_of_incus(key: &str) -> bool {
    let of_device = key.starts_with("volatile.") && UNKNOWN_TO_OLD_LXD_OF_DEVICES.iter().any(|end| key.ends_with(end));
    of_device || UNKNOWN_TO_OLD_LXD.iter().any(|pattern| begins(key, pattern))
}

/// Whether a key is the one of a list, or begins with it where that ends with a separator.
fn begins(key: &str, pattern: &str) -> bool {
    if pattern.ends_with(['.', '-']) { key.starts_with(pattern) } else { key == pattern }
}

/// Whether a key fits one of a catalogue, in which `*` and `<name>` stand for any text.
fn matches(pattern: &str, key: &str) -> bool {
    let Some(start) = pattern.find(['*', '<']) else { return pattern == key };
    let end = pattern.rfind(['*', '>']).map_or(start, |at| at + 1);
    let (before, behind) = (pattern.get(..start).unwrap_or_default(), pattern.get(end..).unwrap_or_default());
    key.len() > before.len() + behind.len() && key.starts_with(before) && key.ends_with(behind)
}

/// The key that a daemon's words say it does not know.
pub(crate) fn unknown_key(words: &str) -> Option<&str> {
    let (_, behind) = words.split_once("Unknown configuration key: ")?;
    let key = behind.split_whitespace().next()?.trim_matches(|c| matches!(c, '"' | '\'' | ',' | ';'));
    (!key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(flavor: Flavor, catalogue: Option<&[&str]>) -> KeyRules {
        let catalogue = catalogue.map(|keys| keys.iter().map(|key| (*key).to_owned()).collect());
        KeyRules { catalogue, ..KeyRules::of(flavor, Origin::Foreign) }
    }

    #[test]
    fn an_old_lxd_gets_no_key_that_only_incus_knows() {
        let rules = rules(Flavor::Lxd, None);
        for key in ["volatile.uuid.generation", "oci.cwd", "systemd.credential.x", "volatile.eth0.io.bus"] {
            assert_eq!(rules.rule(key), Rule::Drop, "{key}");
        }
        for key in ["volatile.uuid", "volatile.eth0.hwaddr", "limits.cpu", "user.oci.", "limits.network.priority"] {
            assert_eq!(rules.rule(key), Rule::Keep, "{key}");
        }
        assert_eq!(rules.rule("security.guestapi.images"), Rule::Rename("security.devlxd.images"));
    }

    #[test]
    fn a_catalogue_decides_except_about_what_all_know() {
        let rules = rules(Flavor::Incus, Some(&["limits.cpu", "smbios11.*", "volatile.<name>.hwaddr"]));
        for key in ["limits.cpu", "smbios11.x", "volatile.eth0.100.hwaddr", "volatile.last_state.idmap", "user.a"] {
            assert_eq!(rules.rule(key), Rule::Keep, "{key}");
        }
        for key in ["volatile.eth0.name", "volatile.new.key"] {
            assert_eq!(rules.rule(key), Rule::Keep, "{key}");
        }
        for key in ["limits.network.priority", "smbios11.", "volatile.uuid.generation", "volatile.bus.mode"] {
            assert_eq!(rules.rule(key), Rule::Drop, "{key}");
        }
        assert_eq!(rules.rule("security.devlxd"), Rule::Rename("security.guestapi"));
    }

    #[test]
    fn what_a_daemon_refused_is_left_out_wherever_it_comes_from() {
        let mut rules = rules(Flavor::Lxd, None);
        rules.origin = Origin::Same;
        assert_eq!(rules.rule("limits.cpu"), Rule::Keep);
        assert!(rules.learn("limits.cpu"));
        assert!(!rules.learn("limits.cpu"));
        assert_eq!(rules.rule("limits.cpu"), Rule::Drop);
    }

    #[test]
    fn the_refused_key_is_found_in_the_daemons_words() {
        let words = "Failed importing backup: Failed creating instance record: Unknown configuration key: oci.cwd";
        assert_eq!(unknown_key(words), Some("oci.cwd"));
        assert_eq!(unknown_key("Unknown configuration key: "), None);
        assert_eq!(unknown_key("No root device could be found"), None);
    }
}

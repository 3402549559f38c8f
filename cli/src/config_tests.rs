//! Configurations as administrators write them, right and wrong.

use super::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/etc/nvmf/nvmf.toml"), text)
}

const WHOLE: &str = r#"
listen = ["nvme+tcp://0.0.0.0:4420", "nvme+tcp://[::]:4420"]
threads = 2
poll = "spin"

[transport.tcp]
header_digest = "require"
data_digest = "never"
pda = 3
in_capsule_data = "16k"
max_h2c_data = 131072

[[subsystems]]
nqn = "nqn.2014-08.org.example:disk1"
serial = "DISK0001"
allow_hosts = ["nqn.2014-08.org.example:host7"]

[[subsystems.namespaces]]
ram = "1GiB"

[[subsystems.namespaces]]
nsid = 7
file = "disk.img"
block_size = 4096
read_only = true
uuid = "11111111-2222-3333-4444-555555555555"
"#;

#[test]
fn everything_is_understood() {
    let config = parse(WHOLE).unwrap();
    assert_eq!(config.listen.len(), 2);
    assert_eq!(config.threads.unwrap().get(), 2);
    assert_eq!(config.poll, Some(PollMode::Spin));
    let tcp = &config.transport.tcp;
    assert_eq!(tcp.header_digest, Some(DigestRule::Require));
    assert_eq!(tcp.data_digest, Some(DigestRule::Never));
    assert_eq!((tcp.pda, tcp.in_capsule_data, tcp.max_h2c_data), (Some(3), Some(16384), Some(131072)));
    let subsystem = config.subsystems[0].as_ref();
    assert_eq!(subsystem.nqn.to_string(), "nqn.2014-08.org.example:disk1");
    assert_eq!(subsystem.allow_hosts.as_ref().unwrap().len(), 1);
    let first = subsystem.namespaces[0].as_ref();
    assert_eq!((first.ram, first.block_size, first.read_only), (Some(Size(1 << 30)), BlockSize(512), false));
    let second = subsystem.namespaces[1].as_ref();
    assert_eq!(second.nsid, Some(NamespaceId(7)));
    assert_eq!(second.file.as_deref(), Some(Path::new("/etc/nvmf/disk.img")));
    assert!(second.read_only);
}

#[test]
fn nothing_is_a_configuration_too() {
    let config = parse("").unwrap();
    assert!(config.listen.is_empty() && config.subsystems.is_empty());
}

/// Each mistake, the place and field it is reported at, and a part of the message.
#[test]
fn mistakes_are_placed() {
    let subsystem = "[[subsystems]]\nnqn = \"nqn.2014-08.org.example:a\"\n";
    let namespace = format!("{subsystem}[[subsystems.namespaces]]\n");
    for (text, line, column, field, problem) in [
        ("threads = 0".into(), 1, 11, "threads", "nonzero"),
        ("poll = \"never\"".into(), 1, 8, "poll", "unknown variant"),
        ("\nlisten = [\"nvme+tpc://h\"]".into(), 2, 10, "listen[0]", "unknown wire"),
        ("listen = [\"nvme://h/nqn.2014-08.org.example:a\"]".into(), 1, 10, "listen[0]", "no subsystem"),
        ("[transport.tcp]\npda = 32".into(), 2, 7, "transport.tcp.pda", "0 to 31"),
        ("[transport.tcp]\nin_capsule_data = \"1M\"".into(), 2, 19, "transport.tcp.in_capsule_data", "64k"),
        ("[transport.udp]\n".into(), 1, 12, "transport.udp", "unknown field"),
        ("[[subsystems]]\nnqn = \"disk\"".into(), 2, 7, "subsystems[0].nqn", "does not start with"),
        (format!("{subsystem}seriel = \"x\""), 3, 1, "subsystems[0].seriel", "unknown field"),
        (format!("{subsystem}serial = \"\""), 3, 10, "subsystems[0].serial", "1 to 20"),
        (format!("{namespace}ram = \"much\""), 4, 7, "subsystems[0].namespaces[0].ram", "such as"),
        (
            format!("{namespace}ram = 1024\nblock_size = 1000"),
            5,
            14,
            "subsystems[0].namespaces[0].block_size",
            "512 or 4096",
        ),
        (format!("{namespace}nsid = 0"), 4, 8, "subsystems[0].namespaces[0].nsid", "from 1"),
        (format!("{namespace}nsid = 65537"), 4, 8, "subsystems[0].namespaces[0].nsid", "to 65536"),
        (format!("{namespace}uuid = \"7\""), 4, 8, "subsystems[0].namespaces[0].uuid", "length"),
        (namespace.clone(), 3, 1, "subsystems[0].namespaces[0]", "nothing holds"),
        (
            format!("{namespace}ram = 512\nfile = \"x\""),
            3,
            1,
            "subsystems[0].namespaces[0].file",
            "choose one",
        ),
        (format!("{namespace}ram = 511"), 3, 1, "subsystems[0].namespaces[0].ram", "one block"),
        (format!("{namespace}ram = 1000"), 3, 1, "subsystems[0].namespaces[0].ram", "multiple"),
        (format!("{subsystem}{subsystem}"), 3, 1, "subsystems[1].nqn", "earlier subsystem"),
    ] {
        let error = parse(&text).expect_err(&text);
        let (at_line, at_column, _) = error.place.clone().expect(&text);
        assert_eq!((at_line, at_column), (line, column), "{text}\n{error}");
        assert_eq!(error.field.as_deref(), Some(field), "{text}\n{error}");
        assert!(error.problem.contains(problem), "{text}\n{error}");
    }
}

#[test]
fn broken_toml_is_placed_and_shown() {
    let error = parse("listen = [\nthreads = 2\n").unwrap_err();
    assert!(error.place.is_some());
    let shown = parse("threads = \"two\"").unwrap_err().to_string();
    assert!(shown.starts_with("/etc/nvmf/nvmf.toml:1:11: threads: "), "{shown}");
    assert!(shown.ends_with("\n1 | threads = \"two\"\n  |           ^"), "{shown}");
}

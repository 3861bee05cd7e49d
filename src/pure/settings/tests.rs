use super::*;
use crate::pure::addr::IpText;
use proptest::prelude::*;

fn settings() -> Settings {
    Settings::new(4)
}

fn set(key: &str, value: &str) -> Result<String, String> {
    let mut settings = settings();
    let before = settings.clone();
    match settings.set(key, value) {
        Ok(()) => Ok(settings.get(key).unwrap()),
        Err(error) => {
            assert_eq!(
                settings, before,
                "{key} = {value} failed and yet changed something"
            );
            Err(error.to_string())
        }
    }
}

fn error_of(key: &str, value: &str) -> String {
    set(key, value).unwrap_err()
}

/// A number that the row takes, anywhere in its range.
fn numbers(row: &'static Descriptor) -> impl Strategy<Value = i64> {
    prop_oneof![Just(row.min), Just(row.max), row.min..=row.max]
}

fn addressed(row: &Descriptor) -> bool {
    matches!(row.unit, Unit::Ipv4 | Unit::Ipv6 | Unit::Networks)
}

fn any_row() -> impl Strategy<Value = &'static Descriptor> {
    (0..TABLE.len()).prop_map(|index| &TABLE[index])
}

/// Settings with any valid value in every field.
fn any_settings() -> impl Strategy<Value = Settings> {
    let all: Vec<_> = TABLE
        .iter()
        .map(|row| {
            let value = match row.unit {
                Unit::Ipv4 => any::<[u8; 4]>()
                    .prop_map(|ip| Value::Address(Addr::v4(ip, 0)))
                    .boxed(),
                // No IPv4-mapped address: that is an IPv4 one.
                Unit::Ipv6 => any::<[u8; 15]>()
                    .prop_map(|tail| {
                        let mut ip = [0x20; 16];
                        ip[1..].copy_from_slice(&tail);
                        Value::Address(Addr::v6(ip, 0, 0))
                    })
                    .boxed(),
                Unit::Networks => prop::collection::vec(any::<[u8; 4]>(), 1..4)
                    .prop_map(|list| {
                        let texts: Vec<_> = list
                            .iter()
                            .map(|&ip| IpText(&Addr::v4(ip, 0)).to_string())
                            .collect();
                        Value::Networks(Networks::parse(&texts.join(",")).unwrap())
                    })
                    .boxed(),
                _ => numbers(row).prop_map(Value::Number).boxed(),
            };
            match row.unset {
                Some(_) => prop_oneof![Just(Value::Unset), value].boxed(),
                None => value,
            }
        })
        .collect();
    all.prop_map(|values| {
        let mut settings = settings();
        for (row, value) in TABLE.iter().zip(values) {
            (row.put)(&mut settings, value.clone());
            assert_eq!(
                (row.value)(&settings),
                value,
                "{} does not fit its field",
                row.key
            );
        }
        settings
    })
}

#[test]
fn defaults_are_those_of_the_design() {
    let expected = [
        ("workers", "4"),
        ("max_connections", "16384"),
        ("max_connections_per_ip", "0"),
        ("per_ip_prefix4", "32"),
        ("per_ip_prefix6", "64"),
        ("accept_rate", "0"),
        ("accept_rate_per_ip", "0"),
        ("allow_networks", "none"),
        ("deny_networks", "none"),
        ("trusted_networks", "none"),
        ("connection_lifetime", "120s"),
        ("worker_hold", "5s"),
        ("worker_stall", "50ms"),
        ("handoff", "round_robin"),
        ("queue_high", "auto"),
        ("queue_low", "auto"),
        ("pause_reading", "yes"),
        ("send_timeout", "10s"),
        ("connect_timeout", "10s"),
        ("fd_cache", "64"),
        ("worker_fd_cache", "auto"),
        ("participants", "64"),
        ("linger", "2s"),
        ("supervisor_nice", "unset"),
        ("supervisor_rt_priority", "unset"),
        ("listen_backlog", "1024"),
        ("conn_wq_max", "32k"),
        ("wq_max", "10m"),
        ("queue_full", "close"),
        ("max_message_size", "64k"),
        ("message_timeout", "20s"),
        ("first_message_timeout", "0s"),
        ("half_close_timeout", "32s"),
        ("blacklist_ttl", "60s"),
        ("crlf_ping", "yes"),
        ("crlf_keepalive", "no"),
        ("pong_timeout", "10s"),
        ("flow_timer_grace", "10s"),
        ("accept_no_content_length", "no"),
        ("partial_max", "64m"),
        ("log_ring", "1024"),
        ("proxy_protocol", "off"),
        ("proxy_networks", "none"),
        ("proxy_timeout", "5s"),
        ("proxy_protocol_out", "off"),
        ("proxy_out_networks", "none"),
        ("nodelay", "yes"),
        ("keepalive", "yes"),
        ("keepidle", "unset"),
        ("keepintvl", "unset"),
        ("keepcnt", "unset"),
        ("user_timeout", "unset"),
        ("defer_accept", "0s"),
        ("reuse_port", "no"),
        ("tos", "unset"),
        ("source_ipv4", "unset"),
        ("source_ipv6", "unset"),
        ("accept_aliases", "no"),
        ("connections_per_destination", "1"),
        ("no_connect", "no"),
        ("close_rst", "no"),
        ("error_answers", "yes"),
        ("log_level", "notice"),
        ("capture", "no"),
    ];
    for (key, text) in expected {
        assert_eq!(settings().get(key).unwrap(), text, "{key}");
    }
    assert_eq!(expected.len(), TABLE.len());
    assert_eq!(
        (settings().conn_wq_max_bytes, settings().wq_max_bytes),
        (32_768, 10_485_760)
    );
}

#[test]
fn the_machine_decides_about_workers_alone_and_any_machine_passes_the_check() {
    for (cpus, workers) in [
        (0, 1),
        (1, 1),
        (16, 16),
        (200, 200),
        (256, 256),
        (u32::MAX, 256),
    ] {
        let settings = Settings::new(cpus);
        assert_eq!(settings.workers, workers);
        assert_eq!(settings.check(), Ok(()));
    }
    for row in Settings::keys() {
        let text = row.default_text();
        if row.key == "workers" {
            assert_eq!(text, "number of CPUs");
        } else {
            assert_eq!(text, Settings::new(1).get(row.key).unwrap(), "{}", row.key);
        }
    }
}

#[test]
fn rows_are_well_formed() {
    for (index, row) in TABLE.iter().enumerate() {
        let key = row.key;
        assert!(
            key.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        );
        assert!(!key.starts_with("tcp_"), "{key} would lose its prefix");
        assert!(
            TABLE[..index].iter().all(|other| other.key != key),
            "{key} twice"
        );
        assert!(row.min <= row.max, "{key}");
        assert!(
            !row.summary.is_empty() && !row.summary.contains('\n'),
            "{key}"
        );
        assert!(!row.range_text().is_empty());
        if row.live {
            // One word or text holds every value, none of them twice.
            assert!(row.min.checked_add(row.word_offset()) >= Some(0), "{key}");
            assert_eq!(row.is_text(), addressed(row), "{key}");
        }
        if row.unit == Unit::Word {
            for number in row.min..=row.max {
                assert!(
                    row.words.iter().any(|&(_, known)| known == number),
                    "{key} {number}"
                );
            }
        }
        for &(word, number) in row.words {
            assert!((row.min..=row.max).contains(&number), "{key} {word}");
        }
    }
    for (index, &(alias, key)) in ALIASES.iter().enumerate() {
        assert!(
            TABLE.iter().any(|row| row.key == key),
            "{alias} leads nowhere"
        );
        assert!(
            TABLE.iter().all(|row| row.key != alias),
            "{alias} hides a key"
        );
        assert!(
            ALIASES[..index].iter().all(|&(other, _)| other != alias),
            "{alias} twice"
        );
    }
}

#[test]
fn every_bound_fits_its_field_and_is_taken() {
    for row in TABLE.iter().filter(|row| !addressed(row)) {
        for number in [row.min, row.max] {
            let mut settings = settings();
            (row.put)(&mut settings, Value::Number(number));
            assert_eq!((row.value)(&settings), Value::Number(number), "{}", row.key);
            let text = row.format_number(number);
            assert_eq!(
                set(row.key, &text).as_deref(),
                Ok(text.as_str()),
                "{}",
                row.key
            );
        }
    }
}

#[test]
fn outside_a_bound_is_refused_with_the_bound() {
    assert_eq!(
        error_of("workers", "0"),
        r#"workers = "0": below the smallest, 1"#
    );
    assert_eq!(
        error_of("workers", "257"),
        r#"workers = "257": above the largest, 256"#
    );
    assert_eq!(
        error_of("worker_stall", "9ms"),
        r#"worker_stall = "9ms": below the smallest, 10ms"#
    );
    assert_eq!(
        error_of("max_message_size", "17m"),
        r#"max_message_size = "17m": above the largest, 16m"#
    );
    assert_eq!(
        error_of("connection_lifetime", "-1"),
        r#"connection_lifetime = "-1": below the smallest, 10ms"#
    );
    for row in TABLE
        .iter()
        .filter(|row| !addressed(row) && row.unit != Unit::Word)
    {
        let beyond = "9".repeat(30);
        let error = error_of(row.key, &beyond);
        assert!(error.contains(&row.format_number(row.max)), "{error}");
    }
}

#[test]
fn nonsense_is_refused_with_an_example() {
    for (key, value, line) in [
        (
            "worker_hold",
            "abc",
            r#"worker_hold = "abc": not a duration; use e.g. "5s" or "250ms""#,
        ),
        (
            "worker_hold",
            "",
            r#"worker_hold = "": not a duration; use e.g. "5s" or "250ms""#,
        ),
        (
            "conn_wq_max",
            "32kb",
            r#"conn_wq_max = "32kb": not a size; use e.g. "64k" or "10m""#,
        ),
        (
            "max_connections",
            "many",
            r#"max_connections = "many": not a whole number; use 1 to 1048576"#,
        ),
        (
            "supervisor_nice",
            "low",
            r#"supervisor_nice = "low": not a whole number; use -20 to 19 or unset"#,
        ),
        (
            "queue_full",
            "rejct",
            r#"queue_full = "rejct": not one of close, reject; did you mean "reject"?"#,
        ),
        (
            "crlf_ping",
            "yess",
            r#"crlf_ping = "yess": not one of yes, no; did you mean "yes"?"#,
        ),
        (
            "log_level",
            "warn",
            r#"log_level = "warn": not one of error, warning, notice, info, debug; did you mean "warning"?"#,
        ),
        (
            "keepidle",
            "1.5",
            r#"keepidle = "1.5": not whole seconds; use e.g. "1s""#,
        ),
        (
            "source_ipv4",
            "::1",
            r#"source_ipv4 = "::1": not an IPv4 address; use e.g. "192.0.2.1""#,
        ),
        (
            "source_ipv4",
            "192.0.2.1:5060",
            r#"source_ipv4 = "192.0.2.1:5060": not an IPv4 address; use e.g. "192.0.2.1""#,
        ),
        (
            "source_ipv6",
            "::ffff:192.0.2.1",
            r#"source_ipv6 = "::ffff:192.0.2.1": not an IPv6 address; use e.g. "2001:db8::1""#,
        ),
        (
            "source_ipv4",
            "0.0.0.0",
            r#"source_ipv4 = "0.0.0.0": not the address of a host; use "unset" to let the kernel choose"#,
        ),
        (
            "proxy_networks",
            "10.0.0.0/8, 192.0.2.1/24",
            r#"proxy_networks = "10.0.0.0/8, 192.0.2.1/24": "192.0.2.1/24": the address has bits beyond the prefix; use "192.0.2.0/24""#,
        ),
    ] {
        assert_eq!(error_of(key, value), line);
    }
}

#[test]
fn an_unknown_key_names_the_nearest() {
    for (key, nearest) in [
        ("conect_timeout", "connect_timeout"),
        ("tcp_conect_timeout", "connect_timeout"),
        ("Send-Timeout", "send_timeout"),
        ("wq_maks", "wq_max"),
        ("max_conections", "max_connections"),
        ("keepdile", "keepidle"),
        ("rd_buf_sise", "rd_buf_size"),
    ] {
        let error = error_of(key, "1");
        assert_eq!(
            error,
            format!("unknown setting \"{key}\": did you mean \"{nearest}\"?")
        );
    }
    assert!(error_of("", "").starts_with("unknown setting \"\": did you mean "));
    assert!(error_of("tcp_", "").starts_with("unknown setting \"tcp_\": did you mean "));
}

#[test]
fn errors_stay_on_one_short_line() {
    for (key, value) in [
        ("a\nb", "x"),
        ("linger", "a\nb\0\u{1b}[2J"),
        (&"k".repeat(100_000), "x"),
        ("tos", &"9".repeat(100_000)),
    ] {
        let error = error_of(key, value);
        assert!(error.len() < 400, "{}", error.len());
        assert!(error.chars().all(|c| !c.is_control()), "{error}");
    }
}

#[test]
fn keys_may_be_spelt_as_the_field_does() {
    for key in [
        "send_timeout",
        "send-timeout",
        "tcp_send_timeout",
        "tcp-send-timeout",
        " send_timeout ",
    ] {
        assert_eq!(set(key, "3").as_deref(), Ok("3s"), "{key}");
    }
    for (alias, key) in ALIASES {
        for spelt in [
            alias.to_string(),
            format!("tcp_{alias}"),
            alias.replace('_', "-"),
        ] {
            assert_eq!(settings().get(&spelt), settings().get(key), "{spelt}");
        }
    }
    let mut settings = settings();
    settings.set("tcp_children", "8").unwrap();
    settings.set("tcp_rd_buf_size", "16384").unwrap();
    settings.set("tcp_msg_data_timeout", "20").unwrap();
    assert_eq!(settings.workers, 8);
    assert_eq!(settings.max_message_size_bytes, 16_384);
    assert_eq!(settings.first_message_timeout_ms, 20_000);
}

#[test]
fn values_may_be_spelt_as_the_field_does() {
    for (key, value, shown) in [
        ("message_timeout", "0.5", "500ms"),
        ("message_timeout", "2m", "120s"),
        ("blacklist_ttl", "0", "0s"),
        ("partial_max", "1G", "1g"),
        ("wq_max", "10485761", "10485761"),
        ("tos", "0xB8", "184"),
        ("tos", "unset", "unset"),
        ("tos", "", "unset"),
        ("nodelay", "0", "no"),
        ("nodelay", "OFF", "no"),
        ("close_rst", "true", "yes"),
        ("keepidle", "2m", "120s"),
        ("keepidle", "30", "30s"),
        ("user_timeout", "1500ms", "1500ms"),
        ("fd_cache", "no", "0"),
        ("fd_cache", "yes", "64"),
        ("fd_cache", "1", "1"),
        ("worker_fd_cache", "auto", "auto"),
        ("worker_fd_cache", "unset", "auto"),
        ("worker_fd_cache", "0", "0"),
        ("supervisor_nice", "-20", "-20"),
        ("source_ipv4", "192.0.2.1", "192.0.2.1"),
        ("source_ipv4", "::ffff:192.0.2.1", "192.0.2.1"),
        ("source_ipv6", "[2001:DB8::1]", "2001:db8::1"),
        ("source_ipv6", "fe80::1%3", "fe80::1%3"),
        ("log_level", " Debug ", "debug"),
        ("tcp_accept_haproxy", "yes", "optional"),
        ("proxy_protocol", "required", "required"),
        ("tcp_wait_data", "3", "3s"),
        ("proxy_protocol_out", "2", "v2"),
        (
            "proxy_networks",
            "2001:db8::/32 10.0.0.0/8",
            "10.0.0.0/8, 2001:db8::/32",
        ),
        ("proxy_networks", "", "none"),
        ("proxy_networks", "None", "none"),
        ("proxy_networks", " , ", "none"),
    ] {
        assert_eq!(set(key, value).as_deref(), Ok(shown), "{key} = {value}");
    }
}

#[test]
fn a_word_that_is_nearly_right_is_named() {
    assert!(error_of("handoff", "rond_robin").contains("did you mean \"round_robin\""));
}

#[test]
fn numbers_are_milliseconds_bytes_and_counts() {
    let mut settings = settings();
    for (key, number, shown) in [
        ("send_timeout", 1_500, "1500ms"),
        ("keepidle", 30_000, "30s"),
        ("conn_wq_max", 65_536, "64k"),
        ("workers", 3, "3"),
        ("supervisor_nice", -5, "-5"),
        ("crlf_ping", 0, "no"),
        ("queue_full", 1, "reject"),
        ("log_level", 5, "debug"),
    ] {
        settings.set_number(key, number).unwrap();
        assert_eq!(settings.get(key).unwrap(), shown);
    }
    for (key, number, line) in [
        (
            "worker_stall",
            5,
            r#"worker_stall = "5ms": below the smallest, 10ms"#,
        ),
        (
            "keepidle",
            30,
            r#"keepidle = "30ms": not whole seconds; use e.g. "1s""#,
        ),
        (
            "crlf_ping",
            2,
            r#"crlf_ping = "2": no value has this number; use 0 for no, 1 for yes"#,
        ),
        (
            "workers",
            i64::MIN,
            r#"workers = "-9223372036854775808": below the smallest, 1"#,
        ),
        (
            "source_ipv4",
            7,
            r#"source_ipv4 = "7": not an IPv4 address; use e.g. "192.0.2.1""#,
        ),
        (
            "proxy_networks",
            7,
            r#"proxy_networks = "7": not a list of networks; use e.g. "192.0.2.0/24, 2001:db8::/32""#,
        ),
    ] {
        assert_eq!(
            settings.set_number(key, number).unwrap_err().to_string(),
            line
        );
    }
}

#[test]
fn enums_have_the_numbers_of_the_c_header() {
    let mut settings = settings();
    for (word, level, number) in [
        ("error", LogLevel::Error, 1),
        ("warning", LogLevel::Warning, 2),
        ("notice", LogLevel::Notice, 3),
        ("info", LogLevel::Info, 4),
        ("debug", LogLevel::Debug, 5),
    ] {
        settings.set("log_level", word).unwrap();
        assert_eq!((settings.log_level, level as i32), (level, number));
    }
    settings.set("queue_full", "reject").unwrap();
    assert_eq!(settings.queue_full, QueueFull::Reject);
}

#[test]
fn only_live_settings_change_while_running() {
    let mut settings = settings();
    settings.set_live("tcp_send_timeout", "3s").unwrap();
    assert_eq!(settings.send_timeout_ms, 3_000);
    let error = settings.set_live("children", "2").unwrap_err();
    assert_eq!(error, SettingError::NotLive { key: "workers" });
    assert_eq!(
        error.to_string(),
        "workers cannot be changed while running; set it before the start"
    );
    assert!(matches!(
        settings.set_live("nothing", "1"),
        Err(SettingError::UnknownKey { .. })
    ));
    assert_eq!(Settings::is_live("log_level"), Ok(true));
    for key in [
        "workers",
        "max_connections",
        "participants",
        "log_ring",
        "partial_max",
        "reuse_port",
    ] {
        assert_eq!(Settings::is_live(key), Ok(false), "{key}");
    }
}

#[test]
fn a_listener_has_some_settings_of_its_own() {
    let mut own = ListenerSettings::default();
    assert_eq!(own.over(&settings()), settings());
    own.set("tcp_accept_haproxy", "yes").unwrap();
    own.set("proxy_protocol", " Required ").unwrap();
    let (all, one) = (settings(), own.over(&settings()));
    assert_eq!(one.proxy_protocol, ProxyProtocol::Required);
    assert_eq!(
        Settings {
            proxy_protocol: all.proxy_protocol,
            ..one
        },
        all
    );
    assert!(own.set("proxy_protocol", "maybe").is_err());
    assert!(own.set("proxy_protokol", "off").is_err());
    assert_eq!(
        own.set("children", "2").unwrap_err().to_string(),
        "workers is no setting of a single listener; those are proxy_protocol, proxy_networks"
    );
    // The copy that a listener has does not follow the live words.
    assert!(Settings::keys().all(|row| !(row.live && row.of_listener)));
}

#[test]
fn the_page_on_settings_has_every_row() {
    let page = include_str!("../../../docs/tuning.md");
    let listed: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            line.trim_matches('|')
                .split(" | ")
                .map(|cell| cell.trim_matches([' ', '`']))
                .collect()
        })
        .filter(|cells: &Vec<&str>| cells.len() > 2)
        .collect();
    for (cells, row) in listed.iter().zip(TABLE) {
        let default = match row.key {
            "participants" => "workers + 32, at least 64".to_string(),
            _ => row.default_text(),
        };
        let unit = match row.unit {
            Unit::Count => "count",
            Unit::Duration => "time",
            Unit::Seconds => "time, whole s",
            Unit::Size => "bytes",
            Unit::Word if row.range_text() == "yes, no" => "yes/no",
            Unit::Word => "word",
            Unit::Ipv4 | Unit::Ipv6 => "address",
            Unit::Networks => "networks",
        };
        let live = if row.live { "yes" } else { "no" };
        let range = row.range_text();
        let expected = [row.key, &default, unit, live, row.summary, &range];
        assert_eq!(cells[..6], expected, "{}", row.key);
        // What it says of the ancestor is a key that is taken, for this very setting.
        if !cells[6].is_empty() {
            assert_eq!(find(cells[6]).unwrap().key, row.key);
        }
        assert!(
            page.contains(&format!("\n- **`{}`**: ", row.key)),
            "when to change {} is not said",
            row.key
        );
    }
    assert_eq!(listed.len(), TABLE.len());
    for (name, key) in ALIASES {
        assert!(
            page.contains(&format!("| `{name}` | `{key}`")),
            "{name} is not among the other names"
        );
    }
}

#[test]
fn a_list_of_networks_fits_its_place_in_the_segment() {
    let list = |networks: u32| {
        let texts: Vec<_> = (0..networks)
            .map(|i| format!("10.{}.{}.1", i / 256, i % 256))
            .collect();
        texts.join(",")
    };
    let mut settings = settings();
    settings.set("deny_networks", &list(1_000)).unwrap();
    let before = settings.clone();
    let line = settings.set("deny_networks", &list(2_000)).unwrap_err();
    let line = line.to_string();
    assert!(
        line.ends_with("longer than 16384 bytes; use fewer, wider networks"),
        "{line}"
    );
    assert_eq!(settings, before);
    assert!(
        settings
            .live_texts()
            .iter()
            .all(|text| text.len() <= LONGEST_LIST)
    );
}

#[test]
fn settings_that_contradict_each_other_are_refused_at_the_end() {
    let check = |pairs: &[(&str, &str)]| {
        let mut settings = settings();
        pairs
            .iter()
            .for_each(|(key, value)| settings.set(key, value).unwrap());
        settings.check().map_err(|error| error.to_string())
    };
    assert_eq!(check(&[]), Ok(()));
    assert_eq!(check(&[("workers", "2"), ("participants", "3")]), Ok(()));
    assert_eq!(
        check(&[("workers", "64")]).unwrap_err(),
        r#"participants = "64": too few for 64 workers and the supervisor; the smallest is 65"#
    );
    assert_eq!(
        check(&[("max_message_size", "16m")]).unwrap_err(),
        r#"wq_max = "10m": below max_message_size; the smallest is 16m"#
    );
    assert_eq!(
        check(&[("max_message_size", "1m"), ("partial_max", "64k")]).unwrap_err(),
        r#"partial_max = "64k": below max_message_size; the smallest is 1m"#
    );
}

#[test]
fn live_words_are_readable_and_in_table_order() {
    let mut settings = settings();
    settings.set("keepcnt", "7").unwrap();
    let words = settings.live_words();
    assert_eq!(LIVE_WORDS, live_rows(false).count());
    for (row, word) in live_rows(false).zip(words) {
        let expected = match row.key {
            "send_timeout" => 10_000,
            "conn_wq_max" => 32_768,
            "crlf_ping" => 1,
            "log_level" => 3,
            "keepidle" => 0,
            "keepcnt" => 8,
            _ => continue,
        };
        assert_eq!(word, expected, "{}", row.key);
    }
}

/// Every field within its row's range: what the rest of the library relies on.
fn assert_in_range(settings: &Settings) {
    for row in TABLE {
        match (row.value)(settings) {
            Value::Unset => assert!(row.unset.is_some(), "{}", row.key),
            Value::Number(number) => assert!((row.min..=row.max).contains(&number), "{}", row.key),
            Value::Address(_) | Value::Networks(_) => assert!(addressed(row), "{}", row.key),
        }
    }
}

#[test]
fn defaults_are_in_range() {
    assert_in_range(&Settings::new(1));
    assert_in_range(&Settings::new(u32::MAX));
}

#[test]
fn extreme_words_clamp() {
    let mut settings = settings();
    settings.apply_live_words([u64::MAX; LIVE_WORDS]);
    assert_in_range(&settings);
    assert_eq!(settings.worker_hold_ms, 3_600_000);
    assert_eq!(settings.log_level, LogLevel::Debug);
    assert_eq!(settings.keepcnt, Some(127));
    settings.apply_live_words([0; LIVE_WORDS]);
    assert_in_range(&settings);
    assert_eq!(settings.worker_stall_ms, 10);
    assert_eq!(settings.log_level, LogLevel::Error);
    assert_eq!(settings.keepcnt, None);
}

proptest! {
    // Some properties leave many rows out; with many cases that is more than the default allows.
    #![proptest_config(ProptestConfig { max_global_rejects: 1_000_000, ..ProptestConfig::default() })]

    #[test]
    fn shown_text_is_taken_back(settings in any_settings()) {
        let mut copy = Settings::new(1);
        for row in Settings::keys() {
            copy.set(row.key, &settings.get(row.key).unwrap()).unwrap();
        }
        prop_assert_eq!(copy, settings);
    }

    #[test]
    fn numbers_are_taken_back(settings in any_settings()) {
        let mut copy = settings.clone();
        for row in TABLE {
            if let Value::Number(number) = (row.value)(&settings) {
                let factor = if row.unit == Unit::Seconds { 1_000 } else { 1 };
                copy.set_number(row.key, number * factor).unwrap();
            }
        }
        prop_assert_eq!(copy, settings);
    }

    #[test]
    fn words_and_texts_carry_every_live_setting(from in any_settings(), to in any_settings()) {
        let mut copy = to.clone();
        copy.apply_live_words(from.live_words());
        for (which, text) in from.live_texts().iter().enumerate() {
            copy.apply_live_text(which, text);
        }
        for row in TABLE {
            let origin = if row.live { &from } else { &to };
            prop_assert_eq!((row.value)(&copy), (row.value)(origin), "{}", row.key);
        }
    }

    #[test]
    fn hostile_live_words_leave_everything_in_range(words: [u64; LIVE_WORDS]) {
        let mut settings = settings();
        settings.apply_live_words(words);
        assert_in_range(&settings);
        // What was clamped stays: the next reader sees the same.
        let mut again = settings.clone();
        again.apply_live_words(settings.live_words());
        prop_assert_eq!(again, settings);
    }

    #[test]
    fn hostile_live_texts_change_nothing(before in any_settings(), which: usize, text in "[^0-9]{1,40}") {
        let mut settings = before.clone();
        settings.apply_live_text(which % (LIVE_TEXTS + 1), &text);
        let said = ["unset", "none", ""].iter().any(|word| text.trim().eq_ignore_ascii_case(word));
        prop_assert!(settings == before || said || text.contains(':') || text.contains(','));
        assert_in_range(&settings);
    }

    #[test]
    fn any_text_is_stored_in_range_or_refused_on_one_line(
        row in any_row(),
        text in prop_oneof![".{0,40}", "-?[0-9]{1,20}\\.?[0-9]{0,3}(ms|s|m|h|k|g)?"],
    ) {
        let mut settings = settings();
        match settings.set(row.key, &text) {
            Ok(()) => assert_in_range(&settings),
            Err(error) => {
                let line = error.to_string();
                prop_assert!(line.starts_with(row.key), "{}", line);
                prop_assert!(!line.contains('\n'), "{}", line);
            }
        }
    }

    #[test]
    fn any_number_is_stored_in_range_or_refused(row in any_row(), number: i64) {
        let mut settings = settings();
        if settings.set_number(row.key, number).is_ok() {
            assert_in_range(&settings);
        }
    }

    #[test]
    fn one_slip_in_a_key_suggests_that_key(row in any_row(), at: prop::sample::Index) {
        // Short keys have neighbours at one slip, and so have those that there are for IPv4 and for IPv6.
        prop_assume!(row.key.len() > 5 && !row.key.ends_with(['4', '6']));
        let mut slipped = row.key.to_string();
        slipped.remove(at.index(row.key.len()));
        match settings().get(&slipped) {
            Err(SettingError::UnknownKey { nearest, .. }) => prop_assert_eq!(nearest, row.key),
            other => prop_assert!(false, "{} gave {:?}", slipped, other),
        }
    }

    #[test]
    fn any_key_is_known_or_suggests_a_known_one(key in ".{0,80}") {
        if let Err(SettingError::UnknownKey { nearest, .. }) = settings().get(&key) {
            prop_assert!(settings().get(nearest).is_ok(), "{}", nearest);
        }
    }
}

use super::super::sample;
use super::*;
use crate::pure::addr::Addr;
use proptest::prelude::*;

fn view(width: usize, height: usize) -> View {
    View {
        width,
        height,
        title: "answer, pid 4000".to_string(),
        keys: true,
        delay_ms: 1_000,
        ..View::default()
    }
}

fn rates(picture: &Picture) -> Rates {
    let mut before = picture.clone();
    before.now_ms -= 1_000;
    before.stats.messages_in -= 1_200;
    before.connections.pop();
    Rates::between(&before, picture).unwrap()
}

fn remotes(picture: &Picture, view: &View) -> Vec<u16> {
    let rates = rates(picture);
    let found = select(picture, Some(&rates), view);
    found.iter().map(|conn| conn.remote.port).collect()
}

#[test]
fn a_screen_of_80_by_24() {
    let picture = sample::picture();
    let screen = render(&picture, Some(&rates(&picture)), &view(80, 24));
    let text = screen.text();
    let expected = "
 sipwire  answer, pid 4000                           supervisor 4000   up 12m34
 Connections         3 of 16,384   1 idle       Accepted       3     0/s
 Messages in     1.23M 1.20k/s      0/s         Closed         0     0/s
 Messages out        7     0/s      0/s         Dialled        0     0 failed
 Queued          12.1K of 10.0M   partial 0     Refused        0     0 not sent

 WORKER      PID  STATE      HELD    BUSY    MSG/S  MESSAGES    HANDED
      0     4001  ready         1       0        0      600k         3
      1     4002  busy          1    12ms        0      600k         3

 Closed for    closed by the peer 5  send timeout 1
 Blacklist     203.0.113.9:5060 connect failed 42s

 Connections by queue
 REMOTE                 DIR STATE       WRK    AGE   IDLE *QUEUED   MSGS   BYTES
 [2001:d~55:6666]:40002 in  queueing      0   2.0s   20ms   12.1K      3     0/s
 10.0.0.3:40003         out idle          -   3.0s   20ms       0      3   350/s
 10.0.0.1:40001         in  held          0   1.0s   20ms       0      3     0/s





 q quit  s sort  r reverse  / filter  +- every 1.0s  p pause  ? help
";
    assert_eq!(format!("\n{text}"), expected, "\n{text}");
}

#[test]
fn a_wide_screen_has_both_addresses_whole() {
    let picture = sample::picture();
    let text = render(&picture, None, &view(140, 40)).text();
    let row = text.lines().find(|line| line.contains(":40002")).unwrap();
    let remote = "[2001:db8:1111:2222:3333:4444:5555:6666]:40002";
    assert!(
        row.contains(remote) && row.contains("192.0.2.1:5060"),
        "{row}"
    );
}

#[test]
fn connections_are_sorted_and_filtered() {
    let picture = sample::picture();
    let with = |change: fn(&mut View)| {
        let mut view = view(80, 24);
        change(&mut view);
        remotes(&picture, &view)
    };
    assert_eq!(with(|_| ()), [40_002, 40_003, 40_001]);
    assert_eq!(with(|view| view.sort = Sort::Age), [40_003, 40_002, 40_001]);
    assert_eq!(with(|view| view.sort = Sort::Traffic)[0], 40_003);
    assert_eq!(with(|view| view.reversed = true), [40_001, 40_003, 40_002]);
    assert_eq!(
        with(|view| view.filter = "10.0.0.".into()),
        [40_003, 40_001]
    );
    assert_eq!(with(|view| view.filter = "DB8".into()), [40_002]);
    assert!(with(|view| view.filter = "elsewhere".into()).is_empty());
}

#[test]
fn sorts_follow_each_other_and_have_names() {
    let mut sort = Sort::default();
    for _ in 0..3 {
        assert_eq!(Sort::from_name(sort.name()), Some(sort));
        sort = sort.next();
    }
    assert_eq!(sort, Sort::Queue);
    assert_eq!(Sort::from_name("size"), None);
}

#[test]
fn scrolling_ends_at_the_last_page() {
    let mut picture = sample::picture();
    picture.connections = (1..=100)
        .map(|number| sample::conn(number, Addr::v4([10, 0, 0, 1], number as u16)))
        .collect();
    let mut view = view(80, 24);
    view.sort = Sort::Age;
    let screen = render(&picture, None, &view);
    assert_eq!(screen.last_scroll, 100 - screen.rows);
    assert!(
        screen.text().contains("   1 to 8 of 100\n"),
        "{}",
        screen.text()
    );
    view.scroll = usize::MAX;
    let text = render(&picture, None, &view).text();
    assert!(
        text.contains(" to 100 of 100\n") && text.contains("10.0.0.1:1 "),
        "{text}"
    );
}

#[test]
fn what_is_wrong_stands_out() {
    let mut picture = sample::picture();
    assert_eq!(alerts(&picture), None);
    picture.supervisor = Supervisor::Gone;
    picture.workers[1].stalled = true;
    picture.stats.draining = 1;
    let line = alerts(&picture).unwrap();
    assert_eq!(line.text(), " ! SUPERVISOR GONE  stalled: 1  draining");
    picture.stopping = true;
    let text = render(&picture, None, &view(80, 24)).text();
    assert!(
        text.contains(" stopped   up ") && !text.contains("GONE"),
        "{text}"
    );
}

#[test]
fn what_does_not_fit_into_the_title_is_cut_and_does_not_run_together() {
    let text = render(
        &sample::picture(),
        None,
        &View {
            keys: false,
            ..view(30, 1)
        },
    )
    .text();
    assert_eq!(text, " sipwire  answer, pid 4000   s\n");
}

#[test]
fn many_workers_leave_room_for_connections() {
    let mut picture = sample::picture();
    let busy = picture.workers[1].clone();
    picture.workers = vec![busy; 64];
    let screen = render(&picture, None, &view(80, 24));
    assert!(
        screen
            .text()
            .contains(" and 60 more, 60 of them busy, that hold 60\n")
    );
    assert!(screen.rows >= 3);
}

#[test]
fn typing_help_and_pause_are_shown() {
    let picture = sample::picture();
    let shown = |change: fn(&mut View)| {
        let mut view = view(80, 24);
        change(&mut view);
        render(&picture, None, &view).text()
    };
    assert!(shown(|view| view.paused = true).contains("PAUSED"));
    assert!(
        shown(|view| (view.typing, view.filter) = (true, "10.".into())).contains("address: 10._")
    );
    let help = shown(|view| view.help = true);
    assert_eq!(help.lines().count(), 24);
    assert!(help.ends_with("? back\n") && help.contains("quit, also Esc"));
    assert!(shown(|view| view.notice = "it has ended".into()).ends_with(" it has ended\n"));
}

proptest! {
    #[test]
    fn no_line_is_too_long_and_none_too_many(
        width in 0usize..200, height in 0usize..60, help: bool, keys: bool, big: u64,
        filter in "[0-9.:a-f]{0,12}", scroll: usize,
    ) {
        let mut picture = sample::picture();
        picture.stats.messages_in = big.max(1_200);
        picture.stats.queued_bytes = big;
        picture.up_ms = big;
        picture.workers[0].held = big;
        picture.workers[1].held = u64::MAX;
        picture.connections[0].queued_bytes = big;
        picture.connections[0].bytes_in = big;
        let view = View { help, keys, filter, scroll, ..view(width, height) };
        let screen = render(&picture, Some(&rates(&picture)), &view);
        prop_assert!(screen.lines.len() <= height);
        for line in &screen.lines {
            prop_assert!(line.width() <= width, "{:?}", line);
        }
        if keys {
            prop_assert_eq!(screen.lines.len(), height);
        }
    }
}

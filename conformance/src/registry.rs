//! Every case, as data. One line here makes a case part of every suite over every transport.

use crate::{Case, contract};

macro_rules! registry {
    ($d:tt $( $name:ident: $run:path, $id:literal, $title:literal, $reference:literal; )*) => {
        static CASES: &[Case] =
            &[$(Case { id: $id, title: $title, reference: $reference, run: $run }),*];

        /// Every case there is.
        #[must_use]
        pub fn cases() -> &'static [Case] {
            CASES
        }

        /// One `#[test]` per case over a transport: `conformance_suite!(name, || a fixture)`.
        #[macro_export]
        macro_rules! conformance_suite {
            ($d suite:ident, $d fixture:expr) => {
                mod $d suite {
                    #[allow(unused_imports, reason = "the fixture may need nothing of the parent")]
                    use super::*;
                    $(
                        #[test]
                        fn $name() {
                            $d crate::test(stringify!($d suite), $id, || Box::new($d fixture()));
                        }
                    )*
                }
            };
        }
    };
}

registry! { $
    ends_once: contract::endings::commands_end_once,
        "ends-once/command", "every submitted command ends in exactly one Completed or Aborted", "transport [ends-once]";
    ends_once_error: contract::endings::errors_end_once,
        "ends-once/error", "a command that fails ends once, with its status and its buffer", "transport [ends-once]";
    ends_once_fetch: contract::endings::fetches_end_once,
        "ends-once/fetch", "every accepted fetch ends in exactly one Fetched", "transport [ends-once]";
    buffer_returns_completed: contract::endings::completions_return_buffers,
        "buffer-returns/completed", "a completion brings the very buffer back", "transport [buffer-returns]";
    buffer_returns_aborted: contract::endings::aborts_return_buffers,
        "buffer-returns/aborted", "so does an abort", "transport [buffer-returns]";
    buffer_returns_fetched: contract::endings::fetches_return_buffers,
        "buffer-returns/fetched", "and a fetch, filled with what was asked for", "transport [buffer-returns]";

    refusal_full: contract::refusals::full_queue,
        "refusal-returns/full", "a full queue refuses, gives everything back, and takes again later", "transport [refusal-returns]";
    refusal_length: contract::refusals::too_much_data,
        "refusal-returns/length", "more data than a queue carries is refused, as much is not", "transport [refusal-returns]";
    refusal_moment: contract::refusals::wrong_moment,
        "refusal-returns/moment", "a queue that is not up, closing or gone refuses", "transport [refusal-returns]";
    refusal_fetch: contract::refusals::fetch,
        "refusal-returns/fetch", "fetches of too much, too many or nothing are refused", "transport [refusal-returns]";
    refusal_respond: contract::refusals::respond,
        "refusal-returns/respond", "answers with too much data, too early or twice are refused", "transport [refusal-returns]";
    refusal_configure: contract::refusals::configure,
        "refusal-returns/configure", "settings that make no sense are refused without effect", "transport [refusal-returns]";
    empty_data: contract::refusals::nothing_is_not_data,
        "data/empty", "an empty gather list or buffer is no data", "transport [refusal-returns]";

    closed_by_host: contract::closing::by_the_host,
        "closed-last/host", "a queue the host closes ends last and once, on both sides", "transport [closed-last]";
    closed_by_controller: contract::closing::by_the_controller,
        "closed-last/controller", "a queue the controller closes ends last and once, on both sides", "transport [closed-last]";
    closed_in_order: contract::closing::in_good_order,
        "closed-last/order", "an orderly end of an idle queue is told as such", "transport [closed-last]";
    closed_flushes_answers: contract::closing::answers_are_flushed,
        "close/answers", "answers given before an orderly close arrive", "transport Close::AfterFlush";
    closed_flushes_commands: contract::closing::commands_are_flushed,
        "close/commands", "commands submitted before an orderly close arrive", "transport Close::AfterFlush";
    closed_before_up: contract::closing::before_it_is_up,
        "close/connecting", "a queue closed while connecting never comes up", "transport [closed-last]";
    dropped_host: contract::closing::host_dropped,
        "drop-any-time/host", "a dropped host closes its queues and frees its buffers", "transport [drop-any-time]";
    dropped_controller: contract::closing::controller_dropped,
        "drop-any-time/controller", "a dropped controller closes its queues and listeners and drops its views", "transport [drop-any-time]";

    order_commands: contract::order::commands,
        "arrival-order/commands", "commands arrive in the order of submission", "transport [arrival-order]";
    order_completions: contract::order::completions,
        "arrival-order/completions", "completions come in the order of the answers", "transport [arrival-order]";
    order_end: contract::order::end_after_answer,
        "arrival-order/end", "an end does not overtake an answer", "transport [arrival-order]";

    bounded_depth: contract::bounds::depth,
        "bounded/depth", "a queue takes as many commands as its settings say", "transport [bounded]; NVMe-oF 1.1 §2.4.1";
    bounded_limits: contract::bounds::limits,
        "bounded/limits", "limits are known before a queue and only get sharper", "transport [bounded]";
    never_blocks_host: contract::bounds::controller_that_sleeps,
        "never-blocks/host", "a controller that is not polled blocks no call of the host", "transport [never-blocks]";
    never_blocks_controller: contract::bounds::host_that_sleeps,
        "never-blocks/controller", "a host that is not polled blocks no call of the controller", "transport [never-blocks]";

    cid_unique: contract::identity::cids,
        "cid-unique", "CIDs of outstanding commands differ and are those on the wire", "transport [cid-unique]";
    stale_queue: contract::identity::stale_queue,
        "stale-id/queue", "an ended queue is unknown and never another one", "transport [stale-id]";
    stale_request: contract::identity::stale_request,
        "stale-id/request", "an answered request is unknown and never another one", "transport [stale-id]";
    stale_queue_request: contract::identity::request_of_an_ended_queue,
        "stale-id/queue-request", "a request of an ended queue is unknown", "transport [stale-id]";

    hostile_hosts: contract::hostile::hosts,
        "hostile-peer/hosts", "a host that breaks the rules loses its own queue only", "transport [hostile-peer]";
    hostile_controllers: contract::hostile::controllers,
        "hostile-peer/controllers", "a controller that breaks the rules loses its own queue only", "transport [hostile-peer]";

    connect_information: contract::connecting::information,
        "connect/information", "both sides know addresses and what they agreed on", "transport QueueInfo";
    connect_refused: contract::connecting::nobody_listens,
        "connect/refused", "where nobody listens a connection is refused, and it says where", "transport ErrorKind::Refused";
    connect_silence: contract::connecting::silence,
        "connect/silence", "a silent peer is a timeout, in the time given", "transport ConnectOptions::timeout";
    listen_in_use: contract::connecting::address_in_use,
        "listen/in-use", "an address is listened at once", "transport ErrorKind::AddressInUse";
    listen_unlisten: contract::connecting::unlisten,
        "listen/unlisten", "a closed listener takes nobody, and its queues live on", "transport ControllerEngine::unlisten";
    listen_two: contract::connecting::two_listeners,
        "listen/two", "listeners are told apart", "transport ControllerEvent::Accepted";
    connect_many: contract::connecting::many_queues,
        "connect/many", "queues live side by side and end on their own", "transport [closed-last]";
    offers: contract::connecting::offers,
        "select/offers", "a transport says which targets it takes, and why", "transport Transport::offer";

    data_in_capsule: contract::data::in_capsule_limit,
        "data/in-capsule", "what fits the capsule travels in it, the rest is fetched", "NVMe-oF 1.1 §2.4";
    data_in_capsule_early: contract::data::in_capsule_before_connect,
        "data/in-capsule-connect", "until Connect is answered an I/O queue has the admin limit", "transport Engine::configure";
    data_in_capsule_admin: contract::data::in_capsule_admin,
        "data/in-capsule-admin", "the admin queue keeps the transport's limit", "transport ConnectOptions::max_in_capsule";
    data_gather: contract::data::gather_lists,
        "data/gather", "gather lists of every shape arrive whole", "transport Gather";
    data_fetches: contract::data::parallel_fetches,
        "data/fetches", "several fetches at a time fill the right buffers", "transport ControllerEngine::fetch";
    data_completion: contract::data::completion_fields,
        "data/completion", "every field of a completion arrives, folded or not", "NVMe-oF 1.1 §2.2";
    data_none: contract::data::no_data,
        "data/none", "a command without data describes none", "NVMe-oF 1.1 §2.1";
    data_command: contract::data::command_fields,
        "data/command", "a command's fields arrive as they were given", "NVMe-oF 1.1 §2.1";

    load: contract::load::mixed,
        "load/mixed", "random reads and writes over several queues keep every byte", "transport [ends-once]";
    wait_threads: contract::waiting::between_threads,
        "wait/threads", "no wake-up is lost between threads", "transport Engine::wait_handle";
    wait_idle: contract::waiting::idle,
        "wait/idle", "an idle engine is silent", "transport Engine::wait_handle";
}

//! Every case, as data. One line here makes a case part of every suite over every transport.

use crate::{Case, association, contract};

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

    fc_admin: association::connect::admin,
        "FC-01", "a good Connect makes a controller", "NVMe-oF 1.1 §3.3, §4.1";
    fc_record_format: association::connect::record_format,
        "FC-02", "an unknown record format is refused as such", "NVMe-oF 1.1 §3.3";
    fc_queue_size: association::connect::queue_size,
        "FC-03", "queue sizes of nothing and of too much name SQSIZE", "NVMe-oF 1.1 §3.3";
    fc_queue_id: association::connect::queue_id,
        "FC-05", "queue identifiers out of range name QID, one in use is refused", "NVMe-oF 1.1 §3.3";
    fc_twice: association::connect::twice,
        "FC-07", "a second Connect on a queue is a sequence error and harms nothing", "NVMe-oF 1.1 §3.3";
    fc_io_before_enable: association::connect::io_before_enable,
        "FC-08", "an I/O queue needs an enabled controller", "NVMe-oF 1.1 §4.3";
    fc_unknown_controller: association::connect::unknown_controller,
        "FC-09", "an I/O queue for a controller that is not there names CNTLID", "NVMe-oF 1.1 §3.3";
    fc_foreign_controller: association::connect::foreign_controller,
        "FC-10", "an I/O queue never joins another host's controller", "NVMe-oF 1.1 §4.2";
    fc_static_controller: association::connect::static_controller,
        "FC-11", "a static controller of a dynamic subsystem names CNTLID", "NVMe-oF 1.1 §4.1";
    fc_subsystem_name: association::connect::subsystem_name,
        "FC-12", "a subsystem that is not there, and no name at all, name SUBNQN", "NVMe-oF 1.1 §3.3";
    fc_access_control: association::connect::access_control,
        "FC-13", "a host that may not connect is refused on every queue, and loses what it had", "NVMe-oF 1.1 §3.3";
    fc_host_name: association::connect::host_name,
        "FC-14", "a host name that is none names HOSTNQN", "NVMe-oF 1.1 §3.3";
    fc_host_id: association::connect::host_id,
        "FC-15", "a host identifier of zero names HOSTID", "NVMe-oF 1.1 §3.3";
    fc_data_length: association::connect::data_length,
        "FC-17", "Connect with data of another length fails", "NVMe-oF 1.1 §3.3";
    fc_flow_control: association::connect::flow_control,
        "FC-19", "SQ flow control is off when asked for, and the completion says so", "NVMe-oF 1.1 §2.4.1, §3.3";
    fc_attributes: association::connect::attributes,
        "FC-20", "reserved attributes are not looked at", "NVMe-oF 1.1 §3.3";
    fc_not_first: association::connect::not_first,
        "FC-22", "any command before Connect is a sequence error", "NVMe-oF 1.1 §3.3";
    fc_busy: association::connect::busy,
        "FC-23", "a target that is full says busy, and takes again later", "NVMe-oF 1.1 §3.3";
    fc_unassociated: association::connect::unassociated,
        "FC-24", "connections without Connect end and keep nobody out", "house rule";
    fc_discovery: association::connect::discovery,
        "FC-25", "a discovery controller takes no I/O queue", "NVMe-oF 1.1 §5.2";
    fc_several: association::connect::several,
        "FC-26", "a host may have several controllers of a subsystem", "NVMe-oF 1.1 §4.2";

    pg_values: association::property::values,
        "PG-01", "every property has its size and value", "NVMe Base 2.0 §3.1.3";
    pg_invalid: association::property::invalid,
        "PG-02", "wrong sizes and offsets are invalid fields", "NVMe-oF 1.1 §3.4, §3.5";
    pg_reserved: association::property::reserved_fields,
        "PG-03", "reserved fields of Property Get are not looked at", "NVMe Base 2.0 §1.4";
    ps_bad_configuration: association::property::bad_configuration,
        "PS-02", "a configuration no controller has does not become ready", "NVMe Base 2.0 §3.1.3.5";
    ps_change: association::property::change_while_enabled,
        "PS-03", "what may not change while enabled does not", "NVMe Base 2.0 §3.1.3.5";
    ps_read_only: association::property::read_only,
        "PS-04", "read-only properties are not written", "NVMe-oF 1.1 §3.5";
    ps_reset: association::property::reset,
        "PS-05", "a reset ends the I/O queues and leaves the association", "NVMe Base 2.0 §3.7.2";
    ps_shutdown: association::property::shutdown,
        "PS-06", "a shutdown completes, and no more commands are taken", "NVMe Base 2.0 §3.6";
    ps_on_io: association::property::on_an_io_queue,
        "PS-08", "properties belong to the admin queue", "NVMe-oF 1.1 §3.4";
    ps_never_enabled: association::property::never_enabled,
        "PS-09", "an association whose controller is never enabled ends", "NVMe-oF 1.1 §4.6";

    dc_disconnect: association::queues::disconnect,
        "DC-01", "Disconnect ends its queue and no other", "NVMe-oF 1.1 §3.6";
    dc_busy: association::queues::disconnect_busy,
        "DC-04", "Disconnect of a busy queue ends every command once", "NVMe-oF 1.1 §3.6";
    dc_wrong: association::queues::disconnect_wrong,
        "DC-02", "the admin queue cannot be disconnected, nor by an unknown format", "NVMe-oF 1.1 §3.6";
    qu_head: association::queues::submission_queue_head,
        "CC-17", "every completion tells the SQ head", "NVMe-oF 1.1 §2.4.1";
    qu_out_of_order: association::queues::out_of_order,
        "QU-01", "completions come as commands are done", "NVMe Base 2.0 §3.4.1";
    qu_depths: association::queues::extreme_depths,
        "QU-02", "the smallest and the largest queue are usable when full", "NVMe-oF 1.1 §2.4.1";
    qu_host_vanishes: association::queues::host_vanishes,
        "QU-03", "a host that vanishes is forgotten, and others are served", "NVMe-oF 1.1 §4.6";
    qu_many: association::queues::many,
        "QU-04", "associations and queues at once keep every byte", "house rule";

    ad_opcodes: association::admin::opcodes,
        "OP-01", "opcodes that Fabrics excludes or nobody knows are invalid", "NVMe-oF 1.1 §4.4";
    ad_before_ready: association::admin::before_ready,
        "OP-02", "before it is ready a controller takes Fabrics commands only", "NVMe Base 2.0 §3.5";
    ad_fused: association::admin::fused,
        "OP-03", "fused commands the controller does not have are invalid", "NVMe Base 2.0 §3.4.2";
    ad_data_length: association::admin::data_length,
        "OP-04", "room of the wrong size is told", "NVMe Base 2.0 §4.1.2";
    ad_keep_alive_io: association::admin::keep_alive_on_io,
        "KA-07", "Keep Alive is an admin command", "NVMe Base 2.0 §5.18";

    id_controller: association::identify::controller,
        "ID-01", "Identify Controller says what Fabrics needs", "NVMe Base 2.0 §5.17.2.1; NVMe-oF 1.1 §4.4";
    id_namespace: association::identify::namespace,
        "ID-02", "Identify Namespace says size and format", "NVM Command Set 1.0 §4.1.5.1";
    id_no_namespace: association::identify::no_namespace,
        "ID-03", "inactive namespaces are zeroes, invalid ones errors", "NVMe Base 2.0 §5.17.2.1";
    id_list: association::identify::list,
        "ID-04", "the list of active namespaces starts anywhere", "NVMe Base 2.0 §5.17.2.2";
    id_descriptors: association::identify::descriptors,
        "ID-05", "namespaces have unique names that all hosts agree on", "NVMe Base 2.0 §5.17.2.3";
    id_unknown: association::identify::unknown,
        "ID-06", "structures that do not exist are invalid fields", "NVMe Base 2.0 §5.17.1";
    id_controllers: association::identify::controllers,
        "ID-07", "the controllers of the subsystem are listed", "NVMe Base 2.0 §5.17.2.12";

    lp_errors: association::log_pages::errors,
        "LP-01", "an error is in the error log with its command", "NVMe Base 2.0 §5.16.1.2";
    lp_health: association::log_pages::health,
        "LP-02", "the health log counts", "NVMe Base 2.0 §5.16.1.3";
    lp_firmware: association::log_pages::firmware,
        "LP-03", "the active firmware is the one Identify reports", "NVMe Base 2.0 §5.16.1.4";
    lp_supported: association::log_pages::supported,
        "LP-04", "exactly the supported log pages are answered", "NVMe Base 2.0 §5.16.1.1";
    lp_effects: association::log_pages::effects,
        "LP-05", "exactly the supported commands are known", "NVMe Base 2.0 §5.16.1.6";
    lp_pieces: association::log_pages::pieces,
        "LP-06", "a log page is read in pieces", "NVMe Base 2.0 §5.16";
    lp_length: association::log_pages::length,
        "LP-07", "more than MDTS is an invalid field", "NVMe Base 2.0 §5.16";

    ft_queues: association::features::number_of_queues,
        "FT-01", "the number of queues is granted, read back and then fixed", "NVMe Base 2.0 §5.27.1.5";
    ft_beyond: association::features::queues_beyond_grant,
        "FT-02", "a queue beyond the number granted is refused", "NVMe Base 2.0 §5.27.1.5";
    ft_keep_alive: association::features::keep_alive_timer,
        "FT-03", "the keep alive timer is Connect's until it is set", "NVMe Base 2.0 §5.27.1.12";
    ft_host_id: association::features::host_identifier,
        "FT-04", "the host identifier is Connect's and stays", "NVMe-oF 1.1 §4.3";
    ft_unknown: association::features::unknown,
        "FT-05", "features and selections that do not exist are invalid fields", "NVMe Base 2.0 §5.15";
    ft_selections: association::features::selections,
        "FT-06", "defaults are kept, nothing is saved, a reset restores", "NVMe Base 2.0 §5.27";

    ae_namespaces: association::events::namespaces,
        "AE-01", "namespaces that come and go are told, and listed", "NVMe Base 2.0 §5.2, §5.16.1.5";
    ae_pending: association::events::pending,
        "AE-02", "an event waits for a request and is told once", "NVMe Base 2.0 §5.2";
    ae_disabled: association::events::disabled,
        "AE-03", "events that are not enabled are not told", "NVMe Base 2.0 §5.27.1.8";
    ae_limit: association::events::limit,
        "AE-04", "more requests than AERL are refused", "NVMe Base 2.0 §5.2";
    ae_reset: association::events::reset,
        "AE-05", "a reset ends requests and disables events", "NVMe Base 2.0 §5.2";

    ab_unknown: association::abort::unknown,
        "AB-01", "Abort of what is not there says so", "NVMe Base 2.0 §5.1";
    ab_running: association::abort::running,
        "AB-02", "Abort of what runs leaves every command to end once", "NVMe Base 2.0 §5.1";
    ab_event: association::abort::event_request,
        "AB-03", "a held event request can be aborted", "NVMe Base 2.0 §5.1";

    ka_expires: association::keep_alive::expires,
        "KA-01", "a silent host loses its association, others do not", "NVMe Base 2.0 §3.9";
    ka_keeps: association::keep_alive::keeps,
        "KA-02", "Keep Alive keeps an association", "NVMe Base 2.0 §3.9.1";
    ka_traffic: association::keep_alive::traffic,
        "KA-03", "traffic of any queue keeps an association", "NVMe Base 2.0 §3.9.2";
    ka_never: association::keep_alive::never,
        "KA-04", "without a timeout a host may be silent", "NVMe Base 2.0 §5.27.1.12";
    ka_discovery: association::keep_alive::discovery,
        "KA-05", "a discovery controller that is not used ends", "NVMe-oF 1.1 §5.2";

    io_sizes: association::io::sizes,
        "IO-01", "reads and writes of every size around the limits keep every byte", "NVM Command Set 1.0 §3.2";
    io_too_large: association::io::too_large,
        "IO-02", "one block more than MDTS is an invalid field", "NVMe Base 2.0 §5.17.2.1 (MDTS)";
    io_range: association::io::range,
        "IO-03", "ranges beyond the end are out of range", "NVM Command Set 1.0 §3.2";
    io_no_namespace: association::io::no_namespace,
        "IO-04", "namespaces that are not there are invalid", "NVMe Base 2.0 §3.2.1";
    io_data_length: association::io::data_length,
        "IO-05", "data of the wrong length is told, and the next command is well", "NVMe Base 2.0 §4.1.2";
    io_flush: association::io::flushes,
        "IO-06", "Flush of one namespace and of all, and FUA", "NVMe Base 2.0 §7.1";
    io_write_zeroes: association::io::write_zeroes,
        "IO-07", "Write Zeroes makes zeroes and touches nothing else", "NVM Command Set 1.0 §3.2.8";
    io_dataset: association::io::dataset_management,
        "IO-08", "Dataset Management deallocates what it lists", "NVM Command Set 1.0 §3.2.3";
    io_compare: association::io::compare,
        "IO-09", "Compare finds a difference of one bit", "NVM Command Set 1.0 §3.2.1";
    io_write_protected: association::io::write_protected,
        "IO-10", "a write protected namespace is only read", "NVMe Base 2.0 §8.12";
    io_medium_errors: association::io::medium_errors,
        "IO-11", "errors of the medium reach the host, and the queue goes on", "NVMe Base 2.0 §3.3.3.2.1.3";
    io_opcodes: association::io::opcodes,
        "IO-12", "opcodes that do not exist are invalid", "NVMe Base 2.0 §7";
    io_removed: association::io::namespace_removed,
        "IO-13", "a namespace may go away under its commands", "NVMe Base 2.0 §3.2.1";
    io_reads_whole: association::io::reads_are_whole,
        "IO-14", "a read is of one moment", "house rule";

    ds_records: association::discovery::records,
        "DS-01", "every subsystem is listed by every listener", "NVMe-oF 1.1 §5.3";
    ds_filtered: association::discovery::filtered,
        "DS-02", "a host sees what it may connect to", "NVMe-oF 1.1 §5.3";
    ds_generation: association::discovery::generation,
        "DS-03", "the generation counter changes with the log", "NVMe-oF 1.1 §5.3";
    ds_change: association::discovery::change_while_reading,
        "DS-04", "a change while reading can be told", "NVMe-oF 1.1 §5.3";
    ds_many: association::discovery::many,
        "DS-05", "a log larger than a command is read in pieces", "NVMe-oF 1.1 §5.3";
    ds_events: association::discovery::events,
        "DS-06", "a host that asked is told of changes", "NVMe-oF 1.1 §5.4";
    ds_controller: association::discovery::controller,
        "DS-07", "a discovery controller is one, and nothing else", "NVMe-oF 1.1 §5.2";

    ho_life: association::host::whole_life,
        "HO-01", "this host connects, moves data and leaves", "house rule";
    ho_reconnects: association::host::reconnects,
        "HO-02", "a broken connection loses and repeats nothing", "house rule";
    ho_restarts: association::host::target_restarts,
        "HO-03", "a target that restarts is found again", "house rule";
    ho_gives_up: association::host::gives_up,
        "HO-04", "a target that stays away is given up in time", "house rule";
    ho_silent: association::host::silent_controller,
        "HO-05", "a silent controller is noticed by keep alive", "NVMe Base 2.0 §3.9";
    ho_fewer: association::host::fewer_queues,
        "HO-06", "fewer queues than asked for are enough", "NVMe Base 2.0 §5.27.1.5";
    ho_refusals: association::host::refusals,
        "HO-07", "failures to connect are told apart", "NVMe-oF 1.1 §3.3";
    ho_discovery: association::host::discovery,
        "HO-08", "a discovery controller is used without I/O queues", "NVMe-oF 1.1 §5.2";
}

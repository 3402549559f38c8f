//! The committed bindings against the headers of this machine: a C program, built with them, says where it finds each field that
//! this crate uses, and what each number is. Without headers or compiler there is nothing to compare with, and the test says so.

use std::{
    fmt::Write as _,
    io::Write as _,
    mem::{offset_of, size_of},
    process::{Command, Stdio},
};

use super::*;

/// What a question in C should be answered with.
struct Expectation {
    question: String,
    answer: i128,
}

macro_rules! fields {
    ($list:ident, $structure:ident: $($field:ident $(. $inner:ident)*),+ $(,)?) => {
        $($list.push(Expectation {
            question: format!("offsetof(struct {}, {})", stringify!($structure), stringify!($field $(. $inner)*)),
            answer: offset_of!($structure, $field $(. $inner)*) as i128,
        });)+
    };
}

macro_rules! sizes {
    ($list:ident: $($structure:ident),+ $(,)?) => {
        $($list.push(Expectation {
            question: format!("sizeof(struct {})", stringify!($structure)),
            answer: size_of::<$structure>() as i128,
        });)+
    };
}

macro_rules! numbers {
    ($list:ident: $($name:ident),+ $(,)?) => {
        $($list.push(Expectation { question: stringify!($name).to_owned(), answer: $name as i128 });)+
    };
}

fn expectations() -> Vec<Expectation> {
    let mut list = Vec::new();
    // Those that this crate makes have to be right to the last byte.
    sizes!(list: ibv_sge, ibv_send_wr, ibv_recv_wr, ibv_wc, ibv_qp_init_attr, ibv_qp_attr, ibv_device_attr, ibv_port_attr,
        ibv_async_event, rdma_conn_param, rdma_cm_event);
    fields!(list, ibv_device: transport_type, name);
    fields!(list, ibv_context: device, ops, ops.poll_cq, ops.req_notify_cq, ops.post_send, ops.post_recv, cmd_fd, async_fd,
        num_comp_vectors);
    fields!(list, ibv_mr: lkey, rkey);
    fields!(list, ibv_comp_channel: fd);
    fields!(list, ibv_cq: context, cq_context, cqe);
    fields!(list, ibv_qp: context, qp_num);
    fields!(list, ibv_sge: addr, length, lkey);
    fields!(list, ibv_recv_wr: wr_id, next, sg_list, num_sge);
    fields!(list, ibv_send_wr: wr_id, next, sg_list, num_sge, opcode, send_flags, wr.rdma.remote_addr, wr.rdma.rkey);
    list.push(Expectation {
        question: "offsetof(struct ibv_send_wr, invalidate_rkey)".into(),
        answer: offset_of!(ibv_send_wr, __bindgen_anon_1) as i128,
    });
    list.push(Expectation {
        question: "offsetof(struct ibv_wc, invalidated_rkey)".into(),
        answer: offset_of!(ibv_wc, __bindgen_anon_1) as i128,
    });
    fields!(list, ibv_wc: wr_id, status, opcode, byte_len, qp_num, wc_flags);
    fields!(list, ibv_qp_init_attr: qp_context, send_cq, recv_cq, srq, cap.max_send_wr, cap.max_recv_wr, cap.max_send_sge,
        cap.max_recv_sge, cap.max_inline_data, qp_type, sq_sig_all);
    fields!(list, ibv_qp_attr: qp_state);
    fields!(list, ibv_device_attr: fw_ver, max_mr_size, max_qp, max_qp_wr, device_cap_flags, max_sge, max_sge_rd, max_cq, max_cqe,
        max_mr, max_qp_rd_atom, max_qp_init_rd_atom, max_srq, phys_port_cnt);
    fields!(list, ibv_port_attr: state, active_mtu, link_layer);
    fields!(list, ibv_async_event: element.qp, event_type);
    fields!(list, rdma_event_channel: fd);
    fields!(list, rdma_cm_id: verbs, channel, context, qp, route, port_num);
    list.push(Expectation {
        question: "offsetof(struct rdma_cm_id, route.addr.src_storage)".into(),
        answer: (offset_of!(rdma_cm_id, route)
            + offset_of!(rdma_route, addr)
            + offset_of!(rdma_addr, __bindgen_anon_1)) as i128,
    });
    list.push(Expectation {
        question: "offsetof(struct rdma_cm_id, route.addr.dst_storage)".into(),
        answer: (offset_of!(rdma_cm_id, route)
            + offset_of!(rdma_route, addr)
            + offset_of!(rdma_addr, __bindgen_anon_2)) as i128,
    });
    fields!(list, rdma_conn_param: private_data, private_data_len, responder_resources, initiator_depth, flow_control, retry_count,
        rnr_retry_count, srq, qp_num);
    fields!(list, rdma_cm_event: id, listen_id, event, status, param);
    numbers!(list: IBV_TRANSPORT_IWARP, IBV_LINK_LAYER_ETHERNET, IBV_PORT_ACTIVE, IBV_DEVICE_MEM_MGT_EXTENSIONS,
        IBV_ACCESS_LOCAL_WRITE, IBV_ACCESS_REMOTE_WRITE, IBV_ACCESS_REMOTE_READ, IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ, IBV_WR_SEND,
        IBV_WR_SEND_WITH_INV, IBV_SEND_SIGNALED, IBV_SEND_INLINE, IBV_WC_SUCCESS, IBV_WC_LOC_LEN_ERR, IBV_WC_LOC_PROT_ERR,
        IBV_WC_WR_FLUSH_ERR, IBV_WC_REM_ACCESS_ERR, IBV_WC_REM_OP_ERR, IBV_WC_RETRY_EXC_ERR, IBV_WC_RNR_RETRY_EXC_ERR,
        IBV_WC_WITH_INV, IBV_QPT_RC, IBV_QPS_ERR, IBV_QP_STATE, IBV_EVENT_QP_FATAL, IBV_EVENT_QP_REQ_ERR, IBV_EVENT_QP_ACCESS_ERR,
        IBV_EVENT_COMM_EST, IBV_EVENT_DEVICE_FATAL, IBV_EVENT_CQ_ERR, RDMA_PS_TCP, RDMA_OPTION_ID, RDMA_OPTION_ID_REUSEADDR,
        RDMA_OPTION_ID_AFONLY, RDMA_CM_EVENT_ADDR_RESOLVED, RDMA_CM_EVENT_CONNECT_REQUEST, RDMA_CM_EVENT_REJECTED,
        RDMA_CM_EVENT_ESTABLISHED, RDMA_CM_EVENT_DISCONNECTED, RDMA_CM_EVENT_DEVICE_REMOVAL, RDMA_CM_EVENT_TIMEWAIT_EXIT);
    list
}

/// Builds and runs a C program; `None`, with the reason printed, where that cannot be.
fn answers_of_the_headers(questions: &[Expectation]) -> Option<Vec<i128>> {
    let mut program = String::from(
        "#include <stdio.h>\n#include <stddef.h>\n#include <infiniband/verbs.h>\n#include <rdma/rdma_cma.h>\nint main(void) {\n",
    );
    for Expectation { question, .. } in questions {
        let _ = writeln!(program, "printf(\"%lld\\n\", (long long)({question}));");
    }
    program.push_str("return 0; }\n");
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("layout");
    // Headers first: a compiler error after they were found is a failure of the test, not a reason to skip it.
    let compile = |text: &str| {
        let mut compiler = match Command::new("cc")
            .args(["-x", "c", "-", "-o"])
            .arg(&binary)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
        {
            Ok(compiler) => compiler,
            Err(error) => return Err(format!("no C compiler: {error}")),
        };
        compiler.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = compiler.wait_with_output().unwrap();
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    };
    if let Err(reason) =
        compile("#include <infiniband/verbs.h>\n#include <rdma/rdma_cma.h>\nint main(void) { return 0; }\n")
    {
        println!("skipped: no headers to compare with (libibverbs-dev, librdmacm-dev): {reason}");
        return None;
    }
    compile(&program).unwrap_or_else(|error| panic!("{error}"));
    let output = Command::new(&binary).output().unwrap();
    Some(String::from_utf8(output.stdout).unwrap().lines().map(|line| line.parse().unwrap()).collect())
}

#[test]
fn the_bindings_agree_with_the_installed_headers() {
    let expected = expectations();
    let Some(found) = answers_of_the_headers(&expected) else { return };
    assert_eq!(expected.len(), found.len());
    let wrong: Vec<String> = expected
        .iter()
        .zip(found)
        .filter(|(expectation, found)| expectation.answer != *found)
        .map(|(Expectation { question, answer }, found)| {
            format!("{question}: {found} here, {answer} in the bindings")
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The same without headers: what the ABI has been on 64-bit machines since it exists.
#[test]
fn the_bindings_are_those_of_64_bit_machines() {
    assert_eq!(offset_of!(ibv_context, ops.poll_cq), 96);
    assert_eq!(offset_of!(ibv_context, ops.req_notify_cq), 104);
    assert_eq!(offset_of!(ibv_context, ops.post_send), 208);
    assert_eq!(offset_of!(ibv_context, ops.post_recv), 216);
    assert_eq!(offset_of!(ibv_context, async_fd), 268);
    assert_eq!(offset_of!(ibv_mr, rkey), 40);
    assert_eq!(offset_of!(ibv_qp, qp_num), 52);
    assert_eq!((size_of::<ibv_send_wr>(), size_of::<ibv_recv_wr>(), size_of::<ibv_wc>()), (128, 32, 48));
    assert_eq!((offset_of!(rdma_cm_id, port_num), offset_of!(rdma_cm_id, route)), (348, 32));
    assert_eq!((size_of::<rdma_cm_event>(), size_of::<rdma_conn_param>()), (80, 24));
}

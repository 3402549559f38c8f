//! Offset, size and byte order of every field of the Identify structures (NVMe Base 2.0 §5.17.2, NVM Command Set 1.0 §4.1.5).

use crate::identify::*;

#[test]
fn identify_controller() {
    golden! {
        IdentifyController {
            vid: 0, 2 le;
            ssvid: 2, 2 le;
            sn: 4, 20;
            mn: 24, 40;
            fr: 64, 8;
            rab: 72, 1;
            ieee: 73, 3;
            cmic: 76, 1;
            mdts: 77, 1;
            cntlid: 78, 2 le;
            ver: 80, 4 le;
            rtd3r: 84, 4 le;
            rtd3e: 88, 4 le;
            oaes: 92, 4 le;
            ctratt: 96, 4 le;
            rrls: 100, 2 le;
            bpcap: 102, 1;
            reserved_103: 103, 1;
            nssl: 104, 4 le;
            reserved_108: 108, 2;
            plsi: 110, 1;
            cntrltype: 111, 1;
            fguid: 112, 16;
            crdt1: 128, 2 le;
            crdt2: 130, 2 le;
            crdt3: 132, 2 le;
            crcap: 134, 1;
            reserved_135: 135, 118;
            nvmsr: 253, 1;
            vwci: 254, 1;
            mec: 255, 1;
            oacs: 256, 2 le;
            acl: 258, 1;
            aerl: 259, 1;
            frmw: 260, 1;
            lpa: 261, 1;
            elpe: 262, 1;
            npss: 263, 1;
            avscc: 264, 1;
            apsta: 265, 1;
            wctemp: 266, 2 le;
            cctemp: 268, 2 le;
            mtfa: 270, 2 le;
            hmpre: 272, 4 le;
            hmmin: 276, 4 le;
            tnvmcap: 280, 16 le;
            unvmcap: 296, 16 le;
            rpmbs: 312, 4 le;
            edstt: 316, 2 le;
            dsto: 318, 1;
            fwug: 319, 1;
            kas: 320, 2 le;
            hctma: 322, 2 le;
            mntmt: 324, 2 le;
            mxtmt: 326, 2 le;
            sanicap: 328, 4 le;
            hmminds: 332, 4 le;
            hmmaxd: 336, 2 le;
            nsetidmax: 338, 2 le;
            endgidmax: 340, 2 le;
            anatt: 342, 1;
            anacap: 343, 1;
            anagrpmax: 344, 4 le;
            nanagrpid: 348, 4 le;
            pels: 352, 4 le;
            did: 356, 2 le;
            kpioc: 358, 1;
            reserved_359: 359, 1;
            mptfawr: 360, 2 le;
            reserved_362: 362, 6;
            megcap: 368, 16 le;
            tmpthha: 384, 1;
            reserved_385: 385, 1;
            cqt: 386, 2 le;
            reserved_388: 388, 124;
            sqes: 512, 1;
            cqes: 513, 1;
            maxcmd: 514, 2 le;
            nn: 516, 4 le;
            oncs: 520, 2 le;
            fuses: 522, 2 le;
            fna: 524, 1;
            vwc: 525, 1;
            awun: 526, 2 le;
            awupf: 528, 2 le;
            icsvscc: 530, 1;
            nwpc: 531, 1;
            acwu: 532, 2 le;
            cdfs: 534, 2 le;
            sgls: 536, 4 le;
            mnan: 540, 4 le;
            maxdna: 544, 16 le;
            maxcna: 560, 4 le;
            oaqd: 564, 4 le;
            rhiri: 568, 1;
            hirt: 569, 1;
            cmmrtd: 570, 2 le;
            nmmrtd: 572, 2 le;
            minmrtg: 574, 1;
            maxmrtg: 575, 1;
            trattr: 576, 1;
            reserved_577: 577, 1;
            mcudmq: 578, 2 le;
            mnsudmq: 580, 2 le;
            mcmr: 582, 2 le;
            nmcmr: 584, 2 le;
            mcdqpc: 586, 2 le;
            reserved_588: 588, 180;
            subnqn: 768, 256;
            reserved_1024: 1024, 768;
            ioccsz: 1792, 4 le;
            iorcsz: 1796, 4 le;
            icdoff: 1800, 2 le;
            fcatt: 1802, 1;
            msdbd: 1803, 1;
            ofcs: 1804, 2 le;
            dctype: 1806, 1;
            reserved_1807: 1807, 241;
            psd: 2048, 1024;
            vs: 3072, 1024;
        }
    }
}

#[test]
fn power_state() {
    golden! {
        PowerState {
            mp: 0, 2 le;
            reserved_2: 2, 1;
            flags: 3, 1;
            enlat: 4, 4 le;
            exlat: 8, 4 le;
            rrt: 12, 1;
            rrl: 13, 1;
            rwt: 14, 1;
            rwl: 15, 1;
            idlp: 16, 2 le;
            ips: 18, 1;
            reserved_19: 19, 1;
            actp: 20, 2 le;
            apws: 22, 1;
            epfrt: 23, 1;
            fqvt: 24, 1;
            epfvt: 25, 1;
            epfrt_fqvt_scale: 26, 1;
            epfvt_scale: 27, 1;
            reserved_28: 28, 4;
        }
    }
}

#[test]
fn identify_namespace() {
    golden! {
        IdentifyNamespace {
            nsze: 0, 8 le;
            ncap: 8, 8 le;
            nuse: 16, 8 le;
            nsfeat: 24, 1;
            nlbaf: 25, 1;
            flbas: 26, 1;
            mc: 27, 1;
            dpc: 28, 1;
            dps: 29, 1;
            nmic: 30, 1;
            rescap: 31, 1;
            fpi: 32, 1;
            dlfeat: 33, 1;
            nawun: 34, 2 le;
            nawupf: 36, 2 le;
            nacwu: 38, 2 le;
            nabsn: 40, 2 le;
            nabo: 42, 2 le;
            nabspf: 44, 2 le;
            noiob: 46, 2 le;
            nvmcap: 48, 16 le;
            npwg: 64, 2 le;
            npwa: 66, 2 le;
            npdg: 68, 2 le;
            npda: 70, 2 le;
            nows: 72, 2 le;
            mssrl: 74, 2 le;
            mcl: 76, 4 le;
            msrc: 80, 1;
            kpios: 81, 1;
            nulbaf: 82, 1;
            reserved_83: 83, 1;
            kpiodaag: 84, 4 le;
            reserved_88: 88, 4;
            anagrpid: 92, 4 le;
            reserved_96: 96, 3;
            nsattr: 99, 1;
            nvmsetid: 100, 2 le;
            endgid: 102, 2 le;
            nguid: 104, 16;
            eui64: 120, 8;
            lbaf: 128, 256;
            vs: 384, 3712;
        }
    }
}

#[test]
fn lba_format() {
    golden! {
        LbaFormat {
            ms: 0, 2 le;
            lbads: 2, 1;
            rp: 3, 1;
        }
    }
}

#[test]
fn identify_namespace_nvm() {
    golden! {
        IdentifyNamespaceNvm {
            lbstm: 0, 8 le;
            pic: 8, 1;
            pifa: 9, 1;
            reserved_10: 10, 2;
            elbaf: 12, 256;
            npdgl: 268, 4 le;
            nprg: 272, 4 le;
            npra: 276, 4 le;
            nors: 280, 4 le;
            npdal: 284, 4 le;
            lbapss: 288, 4 le;
            tlbaag: 292, 4 le;
            reserved_296: 296, 3800;
        }
    }
}

#[test]
fn identify_controller_nvm() {
    golden! {
        IdentifyControllerNvm {
            vsl: 0, 1;
            wzsl: 1, 1;
            wusl: 2, 1;
            dmrl: 3, 1;
            dmrsl: 4, 4 le;
            dmsl: 8, 8 le;
            kpiocap: 16, 1;
            wzdsl: 17, 1;
            aocs: 18, 2 le;
            ver: 20, 4 le;
            lbamqf: 24, 1;
            reserved_25: 25, 4071;
        }
    }
}

#[test]
fn identify_namespace_independent() {
    golden! {
        IdentifyNamespaceIndependent {
            nsfeat: 0, 1;
            nmic: 1, 1;
            rescap: 2, 1;
            fpi: 3, 1;
            anagrpid: 4, 4 le;
            nsattr: 8, 1;
            reserved_9: 9, 1;
            nvmsetid: 10, 2 le;
            endgid: 12, 2 le;
            nstat: 14, 1;
            kpios: 15, 1;
            maxkt: 16, 2 le;
            reserved_18: 18, 2;
            rgrpid: 20, 4 le;
            reserved_24: 24, 4072;
        }
    }
}

#[test]
fn command_set_combinations() {
    golden! {
        CommandSetCombinations {
            vectors: 0, 4096;
        }
    }
}

#[test]
fn namespace_list() {
    golden! {
        NamespaceList {
            nsids: 0, 4096;
        }
    }
}

#[test]
fn controller_list() {
    golden! {
        ControllerList {
            count: 0, 2 le;
            cntlids: 2, 4094;
        }
    }
}

"""litmus_test.py: what the PTX memory model allows of the exchange (docs/exchange.md), by ptx_model.py; and that
ptx_model.py says of the litmus tests in the PTX ISA, sections 8.8 to 8.10, what the ISA says of them."""

import pathlib
import unittest

from ptx_model import Litmus, holds

FOLDER = pathlib.Path(__file__).parent


def two_threads(first, second, condition, same_cta=False):
    rows = [f"{a} | {b} ;" for a, b in zip(first.split("; "), second.split("; "))]
    head = f"P0@cta 0,gpu 0 | P1@cta {0 if same_cta else 1},gpu 0 ;"
    return Litmus("PTX test\n{ x=0; y=0; }\n" + "\n".join([head, *rows, condition]))


class OfTheIsa(unittest.TestCase):
    def check(self, text_holds, *test, **options):
        self.assertEqual(holds(two_threads(*test, **options)), text_holds)

    def test_load_buffering_is_permitted_without_dependencies(self):
        self.check(True, "ld.weak r0, x; st.weak y, 1", "ld.weak r0, y; st.weak x, 1", "exists (P0:r0 == 1 /\\ P1:r0 == 1)")

    def test_nothing_comes_out_of_thin_air(self):
        self.check(True, "ld.weak r0, x; st.weak y, r0", "ld.weak r0, y; st.weak x, r0", "forall (P0:r0 == 0 /\\ P1:r0 == 0)")

    def test_reads_of_a_word_never_go_back(self):
        write, reads = "st.relaxed.sys x, 1; ", "ld.relaxed.sys r0, x; ld.relaxed.sys r1, x"
        self.check(True, write, reads, "~exists (P1:r0 == 1 /\\ P1:r1 == 0)")

    def test_message_passing(self):
        write, read = "st.weak x, 1; {}st.relaxed.{} y, 1", "ld.relaxed.{} r0, y; {}ld.weak r1, x"
        lost = "exists (P1:r0 == 1 /\\ P1:r1 == 0)"
        self.check(False, write.format("fence.acq_rel.sys; ", "sys"), read.format("sys", "fence.acq_rel.sys; "), lost)
        self.check(True, write.format("", "sys"), read.format("sys", ""), lost)
        narrow = write.format("fence.acq_rel.cta; ", "cta"), read.format("cta", "fence.acq_rel.cta; ")
        self.check(True, *narrow, lost)
        self.check(False, *narrow, lost, same_cta=True)
        self.check(False, "st.weak x, 1; st.release.gpu y, 1", "ld.acquire.gpu r0, y; ld.weak r1, x", lost)

    def test_store_buffering_is_permitted_by_fences_that_are_not_sequentially_consistent(self):
        first = "st.relaxed.gpu x, 1; fence.acq_rel.gpu; ld.relaxed.gpu r0, y"
        second = "st.relaxed.gpu y, 1; fence.acq_rel.gpu; ld.relaxed.gpu r0, x"
        self.check(True, first, second, "exists (P0:r0 == 0 /\\ P1:r0 == 0)")

    def test_barriers_synchronize_within_a_cta_only(self):
        first, second = "st.weak x, 1; bar.cta.sync 0; ", "; bar.cta.sync 0; ld.weak r0, x"
        self.check(True, first, second, "~exists (P1:r0 == 0)", same_cta=True)
        self.check(False, first, second, "~exists (P1:r0 == 0)")


class OfTheExchange(unittest.TestCase):
    def check(self, name, by_the_axioms, with_dependencies):
        litmus = Litmus((FOLDER / f"{name}.litmus").read_text())
        self.assertEqual(litmus.name, name)
        self.assertEqual(holds(litmus), by_the_axioms)
        self.assertEqual(holds(litmus, dependencies_cross_barriers=True), with_dependencies)

    def test_the_axioms_alone_do_not_guard_a_slot(self):
        self.check("slot_reuse", False, True)

    def test_dependencies_of_one_thread_guard_it(self):
        self.check("slot_reuse_one_thread", True, True)

    def test_fences_between_the_barriers_guard_it(self):
        self.check("slot_reuse_fence", True, True)

    def test_fences_at_the_publishing_stores_do_not(self):
        self.check("slot_reuse_fence_at_publish", False, True)

    def test_with_one_barrier_a_step_fences_before_it_guard_the_next_word_with_the_same_stamp(self):
        self.check("held_slot_reuse", False, True)
        self.check("held_slot_reuse_fence", True, True)

    def test_coherence_keeps_old_words_away_from_all_threads(self):
        self.check("no_way_back", True, True)


if __name__ == "__main__":
    unittest.main()

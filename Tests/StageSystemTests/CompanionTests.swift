// A second thread for one owner.

import StageSystem
import Synchronization
import Testing

@Suite struct CompanionTests {
    private final class Count: Sendable {
        let value = Atomic(0)
    }

    @Test func workIsDoneInOrderAndAwaited() {
        let companion = Companion()
        let count = Count()
        for round in 0..<1000 {
            companion.start {
                if count.value.load(ordering: .relaxed) == round { count.value.store(round + 1, ordering: .relaxed) }
            }
            if round % 3 == 0 {
                companion.wait()
                #expect(count.value.load(ordering: .relaxed) == round + 1)
            }
        }
        companion.close()
        #expect(count.value.load(ordering: .relaxed) == 1000)
        companion.start { count.value.store(7, ordering: .relaxed) }
        companion.wait()
        #expect(count.value.load(ordering: .relaxed) == 7, "closed, it works on")
    }

    @Test func nothingToDoIsNothingToWaitFor() {
        let companion = Companion()
        companion.wait()
        companion.close()
    }
}

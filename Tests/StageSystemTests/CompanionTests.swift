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

    @Test func whoIsBusyTakesNothingOn() {
        let companion = Companion()
        let count = Count()
        let gate = Companion()
        let isOpen = Count()
        #expect(
            companion.startIfIdle {
                while isOpen.value.load(ordering: .acquiring) == 0 {}
                count.value.wrappingAdd(1, ordering: .relaxed)
            })
        #expect(!companion.startIfIdle { count.value.wrappingAdd(10, ordering: .relaxed) })
        gate.start { isOpen.value.store(1, ordering: .releasing) }
        companion.wait()
        #expect(count.value.load(ordering: .relaxed) == 1)
        #expect(companion.startIfIdle { count.value.wrappingAdd(100, ordering: .relaxed) })
        companion.close()
        #expect(count.value.load(ordering: .relaxed) == 101)
        #expect(!companion.startIfIdle {}, "closed, it has no thread to do it")
        gate.close()
    }
}

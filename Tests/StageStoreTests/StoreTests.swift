import StageStore
import Testing
@Test func opens() {}

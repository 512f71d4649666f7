/** A program that runs until it is ended, for debuggers that come and go. */
public class Endless {
    public static void main(String[] args) throws InterruptedException {
        System.out.println("running");
        for (int n = 0; ; n++) {
            Thread.sleep(50);
        }
    }
}

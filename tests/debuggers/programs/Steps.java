/** The program under test for jdb: a method to stop in and lines to step over. */
public class Steps {
    static int twice(int n) {
        int result = n * 2; // BREAK: step
        result += 1;
        result += 1;
        result += 1;
        result += 1;
        result += 1;
        result += 1;
        result += 1;
        result -= 7;
        return result;
    }

    public static void main(String[] args) {
        System.out.println("answer=" + twice(21));
    }
}
